"""From a version in the registry to a model that is proven and ready to serve.

Checks hashes, opens the admitted files, asks each the questions whose answers the card tells, and among
those that pass takes the fastest on this processor. Knows the registry and onnxruntime; knows nothing
about threads, requests or when a model is loaded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from pawloop import registry
from pawloop.card import SELF_TEST_TOLERANCE, Precision, self_test_images
from pawloop.decision import Costs
from pawloop.errors import DamagedVersionError
from pawloop.image import Resize
from pawloop.registry import Version
from pawloop.session import Provider, Session, providers
from pawloop.settings import Settings

log = logging.getLogger(__name__)

Way = tuple[Precision, Provider]

# int8 that is fast and exact on one processor (VNNI) is slower, or saturates, on another (AVX2), so
# speed is measured where the model serves. The quickest of a few runs is steadier than their mean.
_TIMED_RUNS: Final = 5
# Longer than the gaps between a network's layers: as quick as onnxruntime's own default, at three quarters of
# the CPU.
_SPIN_US: Final = 100


class Runs(Protocol):
    """What a job needs of a session."""

    outputs: tuple[str, ...]

    def run(
        self, images: NDArray[np.uint8], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """As `Session.run`."""


@dataclass(frozen=True)
class Serving:
    """A model in service: everything that a job needs, never changed, replaced as a whole.

    precision, provider: which of its files answers, and through what. novelty_threshold: past it a photo is
    unlike the training photos. model: how answers name it.
    """

    version: Version
    precision: Precision
    provider: Provider
    session: Runs
    classes: tuple[str, ...]
    rule: Resize
    costs: Costs
    novelty_threshold: float
    outputs: tuple[str, ...]
    model: dict[str, str | int]

    @property
    def number(self) -> int:
        """The version's number in the registry."""
        return self.version.number


def load(version: Version, settings: Settings) -> Serving:
    """Open and prove a version. Raises DamagedVersionError when nothing of it is fit to serve."""
    registry.verify(version.folder, version.card)
    faults: list[str] = []
    asked, others = _precisions(version, settings)
    proven = _each_proven(version, asked, settings, faults)
    if others and not proven:
        log.warning(
            "version %d has no %s variant that may serve here, as PAWLOOP_PRECISION asks; taking %s",
            version.number, settings.precision, " or ".join(others),
        )  # fmt: skip
        proven = _each_proven(version, others, settings, faults)
    if not proven:
        raise DamagedVersionError("; ".join(faults) or f"version {version.number}: no variant is admitted")
    return _serving(version, *_fastest(proven))


def widened(serving: Serving, cores: int) -> Session:
    """Another session of the file that is in service, over several cores, proven as that was.

    Raises DamagedVersionError.
    """
    return _proven(serving.version, (serving.precision, serving.provider), 1, cores)


class HeadStart:
    """The champion, loaded on a thread of its own while the rest of the server is imported."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Begin to load the champion of the model `name`."""
        self._serving: Serving | None = None
        self._thread = threading.Thread(target=self._load, args=(settings, name), daemon=True)
        self._thread.start()

    def take(self) -> Serving | None:
        """The model, once; None where that failed: whoever loads it again will say why."""
        self._thread.join()
        serving, self._serving = self._serving, None
        return serving

    def _load(self, settings: Settings, name: str) -> None:
        try:
            champion = registry.Registry(settings.store, name).champion(check=False)
            self._serving = None if champion is None else load(champion, settings)
        except Exception:  # the watcher meets it again, and says it
            log.debug("the head start failed", exc_info=True)


def _providers(settings: Settings) -> list[Provider]:
    return providers() if settings.provider == "auto" else [settings.provider]


def _precisions(version: Version, settings: Settings) -> tuple[list[Precision], list[Precision]]:
    """The admitted ones that are asked for, and the others."""
    admitted = [name for name, variant in version.card.variants.items() if variant.admitted]
    asked = [name for name in admitted if settings.precision in ("auto", name)]
    return asked, [name for name in admitted if name not in asked]


def _each_proven(
    version: Version, precisions: Sequence[Precision], settings: Settings, faults: list[str]
) -> dict[Way, Session]:
    """Those that say what the card says; what is wrong with the rest is added to `faults`."""
    proven: dict[Way, Session] = {}
    for way in product(precisions, _providers(settings)):
        try:
            proven[way] = _proven(version, way, settings.thread_count)
        except DamagedVersionError as error:
            faults.append(str(error))
            log.warning("version %d: %s", version.number, error)
    return proven


def _proven(version: Version, way: Way, at_once: int, cores: int = 1) -> Session:
    """The session of one variant, once it says of the card's pictures what the card says."""
    precision, provider = way
    card, variant = version.card, version.card.variants[precision]
    path = version.folder / variant.file
    session = Session(path, threads=cores, at_once=at_once, provider=provider, spin_us=_SPIN_US)
    expected_input = [card.image_size, card.image_size, 3]
    if session.input_shape[1:] != expected_input:
        raise DamagedVersionError(f"{path}: takes {session.input_shape}, the card says {expected_input}")
    if "probabilities" not in session.outputs:
        raise DamagedVersionError(f'{path}: has no output "probabilities", only {session.outputs}')
    images = self_test_images(card.image_size)
    # One at a time, as it will serve: onnxruntime keeps the memory of the largest batch it has seen.
    try:
        rows = [session.run(one[None], ("probabilities",))["probabilities"] for one in images]
    # onnxruntime raises a dozen classes of its own without a common base
    except Exception as error:
        raise DamagedVersionError(f"{path}: cannot be run on this machine ({provider}): {error}") from error
    answers = np.concatenate(rows)
    expected = np.asarray(variant.self_test, np.float32)  # [K, C]
    if answers.shape != (len(images), len(card.classes)) or answers.shape != expected.shape:
        raise DamagedVersionError(
            f"{path}: answers {list(answers.shape)} to {len(images)} photos, "
            f"the card has {len(card.classes)} classes and a self-test of {list(expected.shape)}"
        )
    off = float(np.abs(answers - expected).max())
    if not off <= SELF_TEST_TOLERANCE[precision]:  # also when it is not a number
        raise DamagedVersionError(
            f"{path}: fails its self-test on this machine ({provider}): off by {off:.3g}, "
            f"{SELF_TEST_TOLERANCE[precision]:g} is allowed"
        )
    return session


def _fastest(proven: dict[Way, Session]) -> tuple[Way, Session]:
    """Each is warm already, from its self-test."""
    if len(proven) == 1:
        return next(iter(proven.items()))
    seconds = {way: _seconds(session) for way, session in proven.items()}
    best = min(seconds, key=lambda way: seconds[way])
    times = ", ".join(f"{' '.join(way)} {1000 * took:.2f} ms" for way, took in seconds.items())
    log.info("%s is the fastest on this processor (%s a photo)", " ".join(best), times)
    return best, proven[best]


def _seconds(session: Session) -> float:
    images = np.zeros((1, *map(int, session.input_shape[1:])), np.uint8)
    best = float("inf")
    for _ in range(_TIMED_RUNS):
        started = time.perf_counter()
        session.run(images, ("probabilities",))
        best = min(best, time.perf_counter() - started)
    return best


def _serving(version: Version, way: Way, session: Session) -> Serving:
    card = version.card
    threshold = card.novelty_threshold
    has_novelty = "novelty" in session.outputs and threshold is not None
    return Serving(
        version=version,
        precision=way[0],
        provider=way[1],
        session=session,
        classes=tuple(card.classes),
        rule=card.resize,
        costs=card.costs,
        novelty_threshold=1.0 if threshold is None else threshold,
        outputs=("probabilities", "novelty") if has_novelty else ("probabilities",),
        model={"name": card.name, "version": card.version},
    )
