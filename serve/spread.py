"""Over how many cores a run of the model spreads: one, or all of them for a photo that comes alone.

One core a run answers most photos a second, and leaves the others idle while photos come one at a time. A
second session of all cores then answers sooner, where nobody else uses them: so both are timed in service,
and the quicker one is taken. It is opened once most photos come alone, and closed once hardly any does.
Knows sessions and how a model is loaded; knows nothing about queues or HTTP.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pawloop.settings import usable_cores
from serve import memory
from serve.loading import Runs, Serving, widened

log = logging.getLogger(__name__)

_MOST_CORES: Final = 4  # of one run; a MobileNet's layers are too short for more
_MEMORY: Final = 0.05  # weight of the newest photo in the share of those that came alone
_MOSTLY: Final = 0.5  # share of photos from which on the second session is opened
_HARDLY: Final = 0.1  # and from which on it is closed, so that a busy server has its memory
_REOPEN_S: Final = 5.0  # at least, from one opening to the next: loading takes a core
_PAYS: Final = 0.9  # of the time on one core, at most, as all cores take a quarter more CPU
_RUNS: Final = 9  # the latest of each way, by whose medians they are compared
_TRIED_EVERY: Final = 150  # runs: the slower way, since others may begin or end to use the cores


class Spread:
    """The model in service, and the two ways to run it."""

    def __init__(self, serving: Serving, cores: int) -> None:
        """cores: that runs may use, together, as far as the process has them."""
        self.serving = serving
        self._cores = min(cores, usable_cores(), _MOST_CORES)
        self._ways: tuple[_Way, _Way] | None = None  # on one core and on all, while both are open
        self._share_alone = 0.0
        self._opened_at = -math.inf
        self._turn = 0
        self._opening: threading.Thread | None = None
        self._asking = threading.Lock()  # so that who closes knows of every thread that began

    def choose(self, *, is_alone: bool) -> Serving:
        """What a photo is to be answered by; `is_alone`: while no other is worked on or waits."""
        if self._cores < 2:
            return self.serving
        self._share_alone += _MEMORY * (is_alone - self._share_alone)
        ways = self._ways
        if ways is None:
            if self._share_alone > _MOSTLY:
                self._ask_to_open()
        elif self._share_alone < _HARDLY:
            self._ways = ways = None
            _begun(memory.give_back)
        elif is_alone and self._share_alone > _MOSTLY:
            return self._chosen(*ways).serving
        return self.serving

    def close(self, timeout_s: float) -> None:
        """Wait for what is being opened: a process that ends meanwhile is aborted by onnxruntime."""
        with self._asking:
            self._opened_at = math.inf
            opening = self._opening
        if opening is not None:
            opening.join(timeout_s)

    def _ask_to_open(self) -> None:
        now = time.monotonic()
        with self._asking:
            is_opening = self._opening is not None and self._opening.is_alive()
            if now - self._opened_at > _REOPEN_S and not is_opening:
                self._opened_at = now
                self._opening = _begun(self._open)

    def _open(self) -> None:
        try:
            session = widened(self.serving, self._cores)
        # one core a run goes on to answer
        except Exception as error:
            log.warning("photos that come alone stay on one core: %s", error)
            self._opened_at = math.inf
            return
        self._ways = (_Way.of(self.serving, self.serving.session), _Way.of(self.serving, session))
        memory.give_back()
        log.info("photos that come alone may use %d cores, where that is quicker", self._cores)

    def _chosen(self, narrow: _Way, wide: _Way) -> _Way:
        rarer = min(narrow, wide, key=lambda way: len(way.timed.seconds))
        if len(rarer.timed.seconds) < _RUNS:
            return rarer
        times = {way: sorted(way.timed.seconds)[_RUNS // 2] for way in (narrow, wide)}
        best, other = (wide, narrow) if times[wide] < _PAYS * times[narrow] else (narrow, wide)
        self._turn += 1
        is_due = self._turn % _TRIED_EVERY == 0
        is_promising = other.timed.seconds[-1] < _PAYS * times[best]  # so it is tried again at once
        return other if is_due or is_promising else best


def _begun(work: Callable[[], object]) -> threading.Thread | None:
    """A thread that does it; None where the system lets this process have no more threads."""
    thread = threading.Thread(target=work, name="spread", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        log.warning("photos that come alone keep the way they have: %s", error)
        return None
    return thread


class _Timed:
    """One session. seconds: of its latest runs."""

    def __init__(self, session: Runs) -> None:
        self.outputs = session.outputs
        self.seconds: deque[float] = deque(maxlen=_RUNS)
        self._session = session

    def run(
        self, images: NDArray[np.uint8], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """As `Session.run`."""
        started = time.perf_counter()
        answers = self._session.run(images, outputs)
        self.seconds.append(time.perf_counter() - started)
        return answers


@dataclass(frozen=True, eq=False)
class _Way:
    serving: Serving
    timed: _Timed

    @classmethod
    def of(cls, serving: Serving, session: Runs) -> _Way:
        timed = _Timed(session)
        return cls(replace(serving, session=timed), timed)
