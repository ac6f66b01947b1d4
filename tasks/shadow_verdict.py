"""What live photos say about a challenger that answered them beside the champion.

Knows answers, labels and costs. Knows nothing about where they come from or how long anybody waited.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pawloop.card import Bar, Verdict
from pawloop.decision import Costs
from pawloop.journal_rows import Paired, Prediction
from pawloop.problem import Problem
from pawloop.sections import Shadow
from tasks.evaluate import largest_cost
from tasks.intervals import wilson
from tasks.paired import lower_bound, upper_bound

_Z: Final = float(norm.ppf(0.95))  # one-sided, as the gate's bounds are


def judge(pairs: Sequence[Paired], problem: Problem) -> Verdict:
    """The verdict on a shadow period: whether live photos speak against the challenger.

    Fewer photos than `[shadow] photos`, or too few to tell whether it disagrees too often, are
    `cannot tell`. Labels given to photos that were drawn by chance can refuse or support it; corrections
    come where somebody saw a mistake, most often the champion's, so they can only refuse.
    """
    asked = problem.shadow
    bars = [enough(len(pairs), asked)]
    if pairs:
        bars.append(_disagreement(pairs, asked.disagreement))
        bars += _labelled(pairs, problem)
        bars.append(_by_its_own_word(pairs, problem.costs, problem.classes))
    return _verdict(bars, pairs, asked.disagreement)


def joined(gate: Verdict, shadow: Verdict) -> Verdict:
    """The gate's verdict with that of the shadow period, which came after it and decides."""
    summary = shadow.summary if shadow.outcome != "promote" else f"{gate.summary}; {shadow.summary}"
    return gate.model_copy(
        update={"outcome": shadow.outcome, "summary": summary, "bars": [*gate.bars, *shadow.bars]}
    )


def enough(count: int, asked: Shadow) -> Bar:
    """Whether so many live photos came as were asked for."""
    return Bar(
        name="live photos in the champion's shadow",
        asked=f"{asked.photos} within {asked.patience_s:g} s",
        got=str(count),
        passed=count >= asked.photos,
    )


def _disagreement(pairs: Sequence[Paired], most: float | None) -> Bar:
    differing, count = _differing(pairs), len(pairs)
    low, high = wilson(differing, count, _Z)
    passed = None if most is None or low <= most < high else high <= most
    return Bar(
        name="live photos on which it disagrees with the champion",
        asked="told only" if most is None else f"at most {most:.1%} (95 % bound)",
        got=f"{differing / count:.1%} ({low:.1%} to {high:.1%}, {differing} of {count} photos)",
        passed=passed,
    )


def _differing(pairs: Sequence[Paired]) -> int:
    return sum(pair.champion.label != pair.challenger.label for pair in pairs)


def _labelled(pairs: Sequence[Paired], problem: Problem) -> Iterator[Bar]:
    known = [(pair, pair.label.why) for pair in pairs if pair.label and pair.label.label in problem.classes]
    drawn = [pair for pair, why in known if why == "audit"]
    others = [pair for pair, why in known if why != "audit"]
    for some, whose in ((drawn, "drawn by chance and labelled"), (others, "that people corrected")):
        if some:
            yield _cost_difference(some, whose, problem, may_support=some is drawn)


def _cost_difference(some: Sequence[Paired], whose: str, problem: Problem, may_support: bool) -> Bar:
    costs, margin = problem.costs, problem.gate.margin
    asked = f"; at most {margin:g} worse (95 % bound) supports it" if may_support else ""
    true = [_place(problem.classes, pair.label.label) for pair in some if pair.label]
    mine = _paid(true, [pair.challenger for pair in some], costs, problem.classes)
    theirs = _paid(true, [pair.champion for pair in some], costs, problem.classes)
    difference, largest = mine - theirs, largest_cost(costs)
    low, high = lower_bound(difference, largest), upper_bound(difference, largest)
    is_within = True if may_support and high <= margin else None
    return Bar(
        name=f"expected cost against the champion on live photos {whose}",
        asked=f"not shown worse{asked}",
        got=f"{difference.mean():+.4f} ({low:+.4f} to {high:+.4f}, {len(some)} photos)",
        passed=False if low > 0 else is_within,
    )


def _paid(
    true: Sequence[int], answers: Sequence[Prediction], costs: Costs, classes: Sequence[str]
) -> NDArray[np.float64]:
    """[N] what each answer cost, by the true class of its photo."""
    return np.array(
        [
            costs.ask if one.reason else costs.matrix[row, _place(classes, one.label)]
            for row, one in zip(true, answers, strict=True)
        ]
    )


def _by_its_own_word(pairs: Sequence[Paired], costs: Costs, classes: Sequence[str]) -> Bar:
    rest = [pair for pair in pairs if pair.label is None]
    mine, theirs = (
        np.mean([_expected(one, costs, classes) for one in answers]) if answers else float("nan")
        for answers in ([pair.challenger for pair in rest], [pair.champion for pair in rest])
    )
    return Bar(
        name="cost that it expects itself on live photos without a label",
        asked="told only",
        got=f"{mine:.4f}, the champion {theirs:.4f} ({len(rest)} photos)" if rest else "no such photo",
        passed=None,
    )


def _expected(answer: Prediction, costs: Costs, classes: Sequence[str]) -> float:
    if answer.reason:
        return costs.ask
    probabilities = np.array([answer.probabilities.get(name, 0.0) for name in classes])  # [C]
    return float(probabilities @ costs.matrix[:, _place(classes, answer.label)])


def _place(classes: Sequence[str], label: str) -> int:
    return list(classes).index(label)


def _verdict(bars: list[Bar], pairs: Sequence[Paired], most: float | None) -> Verdict:
    failed = [bar.name for bar in bars[1:] if bar.passed is False]
    if failed:
        return Verdict(outcome="refuse", summary=f"refused: {'; '.join(failed)}", bars=bars)
    if not bars[0].passed:
        told = f"cannot tell: {len(pairs)} live photos came in time, {bars[0].asked} were asked for"
        return Verdict(outcome="cannot tell", summary=f"{told}; the champion stays", bars=bars)
    if most is not None and bars[1].passed is None:
        told = f"cannot tell: {len(pairs)} live photos do not show that it disagrees on at most {most:.1%}"
        return Verdict(outcome="cannot tell", summary=f"{told}; the champion stays", bars=bars)
    told = f"on {len(pairs)} live photos beside the champion nothing speaks against it"
    return Verdict(outcome="promote", summary=f"{told}; they disagree on {_differing(pairs)}", bars=bars)
