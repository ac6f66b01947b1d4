"""The gate: whether a challenger may take the champion's place.

Paired evidence on the same test photos, absolute bars, and a verdict of its own for "cannot tell".
Knows probabilities, labels and costs; knows nothing about files or who asks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pawloop.card import Bar, Verdict
from pawloop.decision import Costs, incurred
from pawloop.sections import Gate
from tasks.answer import Answers, log_probabilities
from tasks.bars import FileFacts, absolute
from tasks.evaluate import LARGEST_LOG_LOSS, Evaluation, largest_cost
from tasks.intervals import holm
from tasks.paired import by_group, chance_of_worse, enough, lower_bound, upper_bound
from tasks.slices import CLASS_SLICE

_SLICE_ALPHA = 0.01
_CLASS_PHOTOS = 10  # from which on one class is a slice: most of a hundred classes have no hundred photos
_LOG_LOSS_MARGIN = 0.05  # nats


@dataclass(frozen=True)
class Rival:
    """A version in service on the same test photos. name: "champion (version 3)", say.

    answers: by its own file. seen: [N] whether it was trained on the photo. network: SHA-256 of its weights.
    """

    name: str
    answers: Answers
    seen: NDArray[np.bool_]
    network: str = ""


@dataclass(frozen=True)
class Challenger:
    """Whoever wants the champion's place: its answers to N test photos, what they amount to, its file.

    network: SHA-256 of its weights.
    """

    answers: Answers
    evaluation: Evaluation
    file: FileFacts
    network: str = ""


def judge(
    challenger: Challenger,
    labels: NDArray[np.int64],
    rivals: Sequence[Rival],
    slices: Mapping[str, NDArray[np.bool_]],
    costs: Costs,
    asked: Gate,
    groups: NDArray[np.generic] | None = None,
) -> Verdict:
    """The verdict on a challenger's answers to test photos with true classes labels [N].

    slices: rows of test photos by a name such as "source = web". groups: [N], equal where photos are of one
    subject, which counts as one draw. A first model, without rivals, has only the absolute bars to meet.
    """
    answers, groups = challenger.answers, np.arange(len(labels)) if groups is None else groups
    bars = absolute(challenger.evaluation, challenger.file, asked)
    paired: list[_Paired] = []
    differences: dict[str, _Slice] = {}
    mine = incurred(labels, answers.decide(costs), costs)
    for rival in rivals:
        difference = mine - incurred(labels, rival.answers.decide(costs), costs)
        is_same = bool(rival.network) and rival.network == challenger.network and not difference.any()
        paired.append(
            _same(rival, asked)
            if is_same
            else _against(rival, difference[~rival.seen], groups[~rival.seen], costs, asked)
        )
        bars += paired[-1].bars
        bars.append(_calibration(rival, answers, labels, groups))
        for name, rows in slices.items():
            chosen = rows & ~rival.seen
            differences[f"{name} against the {rival.name}"] = _Slice(
                difference[chosen], labels[chosen], groups[chosen], costs, name.startswith(CLASS_SLICE)
            )
    if rivals:
        bars += _slices(differences, asked)
    return _verdict(bars, paired, asked.margin)


@dataclass(frozen=True)
class _Paired:
    """rival: its name. enough: photos that would show the challenger to be no worse; None past ten millions.

    mean: of the extra cost.
    """

    rival: str
    bars: list[Bar]
    is_worse: bool
    is_proven: bool
    enough: int | None
    count: int
    mean: float = 0.0


def _same(rival: Rival, asked: Gate) -> _Paired:
    """Of the same weights, whose answers cost the same: few photos are no doubt.

    What int8 may differ by was bounded when it was admitted beside float32.
    """
    bar = Bar(
        name=f"expected cost against the {rival.name}",
        asked=f"worse by at most {asked.margin:g}",
        got="the same network, by the same costs",
        passed=True,
    )
    return _Paired(rival.name, [bar], False, True, 0, len(rival.seen))


def _against(
    rival: Rival,
    difference: NDArray[np.float64],
    groups: NDArray[np.generic],
    costs: Costs,
    asked: Gate,
) -> _Paired:
    name = f"expected cost against the {rival.name}"
    left_out = f", {int(rival.seen.sum())} left out that it was trained on" if rival.seen.any() else ""
    largest = largest_cost(costs)
    if len(difference) == 0:
        bar = Bar(name=name, asked="photos that it was not trained on", got="none", passed=None)
        return _Paired(rival.name, [bar], False, False, _enough(np.zeros(1), largest, asked.margin), 0)
    drawn, factor = by_group(difference, groups)
    each = len(difference) / len(drawn)
    of_groups = f" of {len(drawn)} groups" if each > 1 else ""
    high, low = upper_bound(drawn, factor * largest), lower_bound(drawn, factor * largest)
    bar = Bar(
        name=name,
        asked=f"worse by at most {asked.margin:g} (95 % bound)",
        got=f"{difference.mean():+.4f}, at most {high:+.4f} ({len(difference)} photos{of_groups}{left_out})",
        passed=high <= asked.margin,
    )
    is_proven = high <= asked.margin
    needed = 0 if is_proven else _enough(drawn, factor * largest, asked.margin)
    needed = None if needed is None else math.ceil(needed * each)
    return _Paired(rival.name, [bar], low > 0, is_proven, needed, len(difference), float(difference.mean()))


def _enough(difference: NDArray[np.float64], largest: float, margin: float) -> int | None:
    """First as if the two were equal; where so many photos were seen already, as they differ."""
    equal = enough(np.concatenate([difference, -difference]), largest, margin)
    return equal if equal and equal > len(difference) else enough(difference, largest, margin)


def _calibration(
    rival: Rival, answers: Answers, labels: NDArray[np.int64], groups: NDArray[np.generic]
) -> Bar:
    rows = np.arange(len(labels))
    mine, theirs = (
        np.minimum(-log_probabilities(p)[rows, labels], LARGEST_LOG_LOSS)[~rival.seen]
        for p in (answers.probabilities, rival.answers.probabilities)
    )
    if len(mine) == 0:
        return Bar(name=f"log-loss against the {rival.name}", asked="photos", got="none", passed=None)
    drawn, factor = by_group(mine - theirs, groups[~rival.seen])
    low = lower_bound(drawn, factor * LARGEST_LOG_LOSS)
    return Bar(
        name=f"log-loss against the {rival.name}",
        asked=f"not shown worse by more than {_LOG_LOSS_MARGIN:g}",
        got=f"{mine.mean():.4f}, its own {theirs.mean():.4f}",
        passed=low <= _LOG_LOSS_MARGIN,
    )


@dataclass(frozen=True)
class _Slice:
    """Differences of the cost of some photos [N], their true classes [N] and groups [N].

    is_class: all photos of one class.
    """

    values: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: NDArray[np.generic]
    costs: Costs
    is_class: bool

    def is_large(self, photos: int) -> bool:
        """Whether it is compared: from so many photos on, of one class from fewer."""
        return len(self.values) >= (min(photos, _CLASS_PHOTOS) if self.is_class else photos)

    @property
    def chance(self) -> float:
        """p-value of its being worse. The dearest mistake counts that its own classes can have."""
        largest = max(self.costs.ask, float(self.costs.matrix[np.unique(self.labels)].max()))
        drawn, factor = by_group(self.values, self.groups)
        return chance_of_worse(drawn, factor * largest)


def _slices(differences: Mapping[str, _Slice], asked: Gate) -> list[Bar]:
    """A line for all slices against all rivals together, and one for each that seems worse."""
    large = {name: one for name, one in differences.items() if one.is_large(asked.slice_photos)}
    small = len(differences) - len(large)
    chances = [one.chance for one in large.values()]
    bars = []
    for name, chance, corrected in sorted(zip(large, chances, holm(chances)), key=lambda one: one[1]):
        values, is_worse = large[name].values, corrected < _SLICE_ALPHA
        if is_worse or values.mean() > asked.margin:
            bars.append(
                Bar(
                    name=f"slice {name}",
                    asked="not significantly worse",
                    got=f"{values.mean():+.4f}, p = {chance:.3g} ({len(values)} photos)",
                    passed=False if is_worse else None,
                )
            )
    worse = sum(bar.passed is False for bar in bars)
    of_class = min(asked.slice_photos, _CLASS_PHOTOS)
    told = Bar(
        name=f"slices of {asked.slice_photos} photos or more, of one class {of_class}",
        asked="none significantly worse",
        got=f"{worse} of {len(large)}" + (f"; {small} smaller ones are not compared" if small else ""),
        passed=not worse,
    )
    return [told, *bars]


def _verdict(bars: list[Bar], paired: list[_Paired], margin: float) -> Verdict:
    undecided = {bar.name for pair in paired if not pair.is_proven for bar in pair.bars}
    failed = [bar for bar in bars if bar.passed is False and bar.name not in undecided]
    worse = [pair for pair in paired if pair.is_worse and not pair.is_proven]
    if failed or worse:
        names = [bar.name for bar in failed] + [pair.bars[0].name for pair in worse]
        return Verdict(outcome="refuse", summary=f"refused: {'; '.join(names)}", bars=bars)
    unsure = [pair for pair in paired if not pair.is_proven]
    if unsure:
        needed, count = [pair.enough for pair in unsure], min(pair.count for pair in unsure)
        known = [photos for photos in needed if photos is not None]
        wish = (
            f"{max(known)} test photos would be enough in four of five cases, if it is not"
            if len(known) == len(needed)
            else "it seems worse by more than the margin, but not surely"
            if any(pair.mean > margin for pair in unsure)
            else "more than ten million would be needed: the margin is too small for what mistakes cost"
        )
        return Verdict(
            outcome="cannot tell",
            summary=f"cannot tell: {count} test photos do not show that it is no worse than the "
            f"{' and the '.join(pair.rival for pair in unsure)}; {wish}",
            bars=bars,
        )
    against = "the absolute bars hold" if not paired else "no worse than those before, and all bars hold"
    return Verdict(outcome="promote", summary=f"promoted: {against}", bars=bars)
