"""What a night tries: candidates, each a pretrained network at an input size and a way to fine-tune it.

From the problem file, and from what earlier searches found and left in the store. Knows recipes; knows
nothing about how they are trained.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

from pawloop import durable
from pawloop.errors import DamagedFileError
from pawloop.problem import Problem
from tasks.extractors import Net
from tasks.finetune import Tuning
from tasks.weights import Pretrained

log = logging.getLogger(__name__)

CROP = 1.0  # the whole square: with 0.875, as on ImageNet, heads on the real photos were right less often


@dataclass(frozen=True)
class Trial:
    """One candidate of a night."""

    net: Net
    tuning: Tuning

    @property
    def name(self) -> str:
        """Such as "efficientnet_lite0 at 224, rate 0.0002"."""
        return f"{self.net.name}, rate {self.tuning.rate:.2g}"


def trials(problem: Problem, weights: Sequence[Pretrained], found: Sequence[Trial] = ()) -> tuple[Trial, ...]:
    """Every candidate once: the problem's own network first, then those that a search found.

    weights: of the backbones at hand, the problem's own first. A find whose weights are not among them is
    left out, since it is a find about other weights.
    """
    modes = dict.fromkeys(problem.train.crop_modes)
    sizes = dict.fromkeys((problem.model.image_size, *problem.train.image_sizes))
    asked = [one for one in weights if one is weights[0] or one.backbone in problem.train.backbones]
    nets = [
        Net(one.backbone, one.sha256, size, CROP, mode) for one, size, mode in product(asked, sizes, modes)
    ]
    digests = {(one.backbone, one.sha256) for one in weights}
    known = [one for one in found if (one.net.backbone, one.net.weights_sha256) in digests]
    usable = [twin for one in known for twin in cuts(one, problem)]
    named = [Trial(net, Tuning(rate)) for net, rate in product(nets, problem.train.rates)]
    # The problem's own network stands first, and of each network what was found: a budget that has time for
    # one candidate takes that.
    own = [one for one in usable if one.net == nets[0]]
    return tuple(dict.fromkeys([*own, named[0], *usable, *named]))


def cuts(trial: Trial, problem: Problem) -> tuple[Trial, ...]:
    """The same candidate with each of the problem's ways to make a photo square."""
    modes = dict.fromkeys(problem.train.crop_modes)
    return tuple(replace(trial, net=replace(trial.net, crop_mode=mode)) for mode in modes)


def write_found(store: Path, name: str, found: Sequence[Trial]) -> Path:
    """Leave what a search found to the next nights of a problem."""
    path = _path(store, name)
    durable.write_json(path, [asdict(one) for one in found])
    return path


def read_found(store: Path, name: str) -> tuple[Trial, ...]:
    """What the last search found, the best first; nothing where there was none, or its file is damaged."""
    path = _path(store, name)
    try:
        return durable.read_json(path, _trials_of, "delete it; `pawloop tune` makes it again")
    except FileNotFoundError:
        return ()
    except DamagedFileError as error:
        log.warning("What a search found is left out: %s", error)
        return ()


def trial_of(record: dict[str, dict[str, object]]) -> Trial:
    """A trial from what `asdict` made of it."""
    return Trial(Net(**record["net"]), Tuning(**record["tuning"]))  # type: ignore[arg-type]  # as JSON holds it


def _trials_of(records: list[dict[str, dict[str, object]]]) -> tuple[Trial, ...]:
    return tuple(map(trial_of, records))


def _path(store: Path, name: str) -> Path:
    return store / "tuned" / name / "candidates.json"
