"""The absolute bars of the gate: what a model must reach by itself, whoever serves now.

Knows numbers of a model and what the problem asks. Knows nothing about rivals' answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from scipy.stats import binom, norm

from pawloop.card import Bar
from pawloop.sections import Gate
from tasks.evaluate import Evaluation, PerClass
from tasks.intervals import wilson

_ALPHA: Final = 0.05  # one-sided, as the paired bounds are
_Z: Final = float(norm.ppf(1 - _ALPHA))
_NAMED: Final = 3


@dataclass(frozen=True)
class FileFacts:
    """What is known of the float32 file besides its answers.

    parity: largest difference of a probability from PyTorch. latency_ms, champion_ms: medians for one
    photo on one thread, timed in turn; None where there is no champion to compare with.
    """

    parity: float
    megabytes: float
    latency_ms: float | None = None
    champion_ms: float | None = None


def absolute(evaluation: Evaluation, file: FileFacts, asked: Gate) -> list[Bar]:
    """A line for each bar that the problem asks for."""
    return [*_good_enough(evaluation, asked), recall(evaluation, asked.minimum_recall), *_fit(file, asked)]


def recall(evaluation: Evaluation, least: float) -> Bar:
    """Whether any class is shown to be recognised too seldom: a class labelled wrongly, most often.

    A class fails when the one-sided 95 % Wilson bound of its recall is below `least`, so that two test
    photos alone can refuse nobody, and three that are all wrong can. But it must also have fewer right than
    chance gives one of so many classes, were each as good as all together (binomial, Bonferroni): of a
    hundred classes with four photos each, one is all wrong every sixth night, where 80 % are right.
    """
    tested = {name: found for name, found in evaluation.classes.items() if found.count}
    most = {name: wilson(one.recall * one.count, one.count, _Z)[1] for name, one in tested.items()}
    by_recall = sorted(most, key=lambda name: (most[name], tested[name].recall))
    usual, alpha = max(evaluation.accuracy, least), _ALPHA / max(1, len(tested))
    poor = [name for name in by_recall if most[name] < least and _chance(tested[name], usual) < alpha]
    told = (
        f"{name} {tested[name].recall:.3f}, at most {most[name]:.3f} ({tested[name].count} photos)"
        for name in (poor or by_recall[:1])[:_NAMED]
    )
    more = f" and {len(poor) - _NAMED} more" if len(poor) > _NAMED else ""
    return Bar(
        name=f"recall of {', '.join(poor[:_NAMED])}{more}" if poor else "recall of each class",
        asked=f"not shown below {least:g} by more than chance",
        got=("" if poor else "lowest: ") + "; ".join(told) + more,
        passed=not poor,
    )


def _chance(one: PerClass, usual: float) -> float:
    """That of so many photos no more are right, where each is with the chance `usual`."""
    return float(binom.cdf(round(one.recall * one.count), one.count, usual))


def _good_enough(evaluation: Evaluation, asked: Gate) -> Iterator[Bar]:
    low, high = evaluation.accuracy_interval
    yield Bar(
        name="accuracy",
        asked=f"at least {asked.minimum_accuracy:.3f}",
        got=f"{evaluation.accuracy:.4f} ({low:.3f} to {high:.3f}, {evaluation.photos} photos)",
        passed=evaluation.accuracy >= asked.minimum_accuracy,
    )
    if asked.maximum_expected_cost is not None:
        yield _at_most("expected cost", evaluation.expected_cost, asked.maximum_expected_cost)
    if asked.maximum_log_loss is not None:
        yield _at_most("log-loss", evaluation.log_loss, asked.maximum_log_loss)


def _fit(file: FileFacts, asked: Gate) -> Iterator[Bar]:
    yield Bar(
        name="parity with PyTorch",
        asked=f"at most {asked.parity:g}",
        got=f"{file.parity:.1e}",
        passed=file.parity <= asked.parity,
    )
    if asked.maximum_megabytes is not None:
        yield _at_most("size of the file", file.megabytes, asked.maximum_megabytes, " MB", digits=1)
    if file.latency_ms is not None and file.champion_ms is not None:
        ratio = file.latency_ms / file.champion_ms
        yield Bar(
            name="latency against the champion",
            asked=f"at most {asked.maximum_latency_ratio:g} times",
            got=f"{file.latency_ms:.1f} ms, its own {file.champion_ms:.1f} ms: {ratio:.2f} times",
            passed=ratio <= asked.maximum_latency_ratio,
        )


def _at_most(name: str, got: float, most: float, unit: str = "", digits: int = 4) -> Bar:
    return Bar(name=name, asked=f"at most {most:g}{unit}", got=f"{got:.{digits}f}{unit}", passed=got <= most)
