"""Validate: is this version fit to learn from, and is it like the version before?

Knows thresholds and distributions. Knows nothing about pixels or who is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pawloop import durable
from pawloop.errors import DatasetError
from pawloop.problem import Problem
from tasks.intervals import holm
from tasks.manifest import SIDES, STATISTICS, Dataset, Side
from tasks.verdict import TWO_CLASSES

Weight = Literal["error", "warn"]

# Below this many newcomers a change of distribution cannot be told from chance.
_FEWEST_NEWCOMERS: Final = 20
_NAME_IT: Final = ": where sources name sides, name this one, too"
_TEACHES: Final = f"{_NAME_IT}; what people corrected only teaches"
_NO_SIDE: Final[dict[Side, str]] = {"train": _NAME_IT, "validation": _TEACHES, "test": _TEACHES}
_DEALT: Final = (
    " of {}: chance deals the sides, by each photo's content; "
    "some more photos, or a list that names sides, help"
)
_QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Check:
    """One expectation and what came of it. weight: whether a failure stops the flow or only warns."""

    name: str
    asked: str
    got: str
    passed: bool
    weight: Weight


def validate(dataset: Dataset, problem: Problem, before: Dataset | None) -> list[Check]:
    """Every check of a version, logged with its distributions in the version's `validation.json`.

    before: the version to compare with, usually the one that the champion learned from.
    """
    kept = _kept(dataset)
    checks = [
        *_enough(dataset, problem),
        _balance(dataset, problem),
        _share_set_aside(dataset, problem),
        *(_compared(dataset, kept, problem, before) if before and before != dataset else ()),
    ]
    log = {
        "before": before.id if before else None,
        "checks": [asdict(check) for check in checks],
        "distributions": _distributions(kept),
    }
    durable.write_json(dataset.folder / "validation.json", log)
    return checks


def require(checks: list[Check]) -> None:
    """Raises DatasetError with the table of what failed when a check of weight error did."""
    failed = [check for check in checks if not check.passed]
    if any(check.weight == "error" for check in failed):
        lines = [f"  {check.weight}: {check.name}: asked {check.asked}, got {check.got}" for check in failed]
        raise DatasetError(
            "the photos are not fit to train on; add photos, or change [data] or [validate] in the problem "
            "file:\n" + "\n".join(lines)
        )


def markdown(checks: list[Check]) -> str:
    """The checks as a Markdown table, failures first."""
    words = {True: "passed", False: "**failed**"}
    rows = [
        f"| {words[check.passed]} | {check.name} | {check.asked} | {check.got} | {check.weight} |"
        for check in sorted(checks, key=lambda check: (check.passed, check.weight))
    ]
    return "\n".join(["| | check | asked | got | weight |", "|---|---|---|---|---|", *rows])


def _weight(problem: Problem, kind: str) -> Weight:
    return "error" if kind in problem.validate_.stop_on else "warn"


def _enough(dataset: Dataset, problem: Problem) -> Iterator[Check]:
    counts, data = dataset.counts(), problem.data
    lost = dataset.facts()["set_aside"].get(TWO_CLASSES, 0)
    also = f"; {lost} files stand under two classes, see `pawloop data quarantine`" if lost else ""
    for label in problem.classes:
        total = sum(counts[side][label] for side in SIDES)
        yield _at_least(f'photos of "{label}"', data.minimum_per_class, total, also, problem, "per-class")
        for side in SIDES:
            hint = _NO_SIDE[side]
            if any(counts[side].values()):
                hint = _DEALT.format(total) if total >= data.minimum_per_class else ""
            name, got = f'{side} photos of "{label}"', counts[side][label]
            yield _at_least(name, data.minimum_per_side, got, hint + also, problem, "per-side")


def _at_least(name: str, asked: int, got: int, hint: str, problem: Problem, kind: str) -> Check:
    """hint: what is told beside a number that is too small."""
    told = str(got) if got >= asked else f"{got}{hint}"
    return Check(name, f"at least {asked}", told, got >= asked, _weight(problem, kind))


def _balance(dataset: Dataset, problem: Problem) -> Check:
    counts = dataset.counts()
    totals = {label: sum(counts[side][label] for side in SIDES) for label in problem.classes}
    most, fewest = max(totals, key=totals.__getitem__), min(totals, key=totals.__getitem__)
    ratio = totals[most] / max(1, totals[fewest])
    asked = problem.validate_.imbalance
    return Check(
        "class balance",
        f"at most {asked:g} to 1",
        f"{ratio:.1f} to 1 ({totals[most]} {most}, {totals[fewest]} {fewest})",
        ratio <= asked,
        _weight(problem, "balance"),
    )


def _share_set_aside(dataset: Dataset, problem: Problem) -> Check:
    aside = dataset.facts()["set_aside"]
    kept = sum(sum(side.values()) for side in dataset.counts().values())
    count = sum(aside.values())
    share, asked = count / max(1, count + kept), problem.validate_.set_aside
    said = ", ".join(f"{number} {reason}" for reason, number in sorted(aside.items())) or "none"
    return Check(
        "share set aside",
        f"at most {asked:.0%}",
        f"{share:.1%} ({said})",
        share <= asked,
        _weight(problem, "set-aside"),
    )


@dataclass(frozen=True)
class _Kept:
    """Ids, classes and statistics [N] of the photos that a version holds."""

    ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    statistics: dict[str, NDArray[np.float32]]


def _kept(dataset: Dataset) -> _Kept:
    table = dataset.kept(["id", "label", *STATISTICS])
    return _Kept(
        np.array(table.column("id").to_pylist(), str),
        np.array(table.column("label").to_pylist(), str),
        {name: table.column(name).to_numpy() for name in STATISTICS},
    )


def _compared(dataset: Dataset, kept: _Kept, problem: Problem, before: Dataset) -> Iterator[Check]:
    """The checks against the version before."""
    old, new = set(before.facts()["classes"]), set(dataset.facts()["classes"])
    changes = [f'"{name}" appeared' for name in sorted(new - old)]
    changes += [f'"{name}" disappeared' for name in sorted(old - new)]
    hint = "; it is a new problem, whose first model has no champion" if changes else ""
    yield Check(
        "classes as before",
        ", ".join(sorted(old)),
        (", ".join(changes) or "the same") + hint,
        not changes,
        _weight(problem, "classes"),
    )
    earlier = _kept(before)
    newcomers = ~np.isin(kept.ids, earlier.ids)
    if newcomers.sum() >= _FEWEST_NEWCOMERS and len(earlier.ids) >= _FEWEST_NEWCOMERS:
        yield from _shifts(earlier, kept, newcomers, problem)


def _shifts(earlier: _Kept, kept: _Kept, newcomers: NDArray[np.bool_], problem: Problem) -> Iterator[Check]:
    """One Kolmogorov-Smirnov test a statistic, new photos against all of the version before.

    A change is told when it is significant among all tests together (Holm 1979) and large enough to
    matter: with many photos the smallest change is significant.
    """
    asked = problem.validate_
    tests = {
        name: stats.ks_2samp(earlier.statistics[name], kept.statistics[name][newcomers])
        for name in STATISTICS
    }
    corrected = holm([float(test.pvalue) for test in tests.values()])
    for (name, test), p in zip(tests.items(), corrected, strict=True):
        was, now = np.median(earlier.statistics[name]), np.median(kept.statistics[name][newcomers])
        distance = float(test.statistic)
        yield Check(
            f"{name} as before",
            f"distance at most {asked.shift:g}, or no more than chance (p at least {asked.significance:g})",
            f"distance {distance:.2f}, p {p:.2g} (median {was:.3g}, of {newcomers.sum()} new ones {now:.3g})",
            distance <= asked.shift or p >= asked.significance,
            _weight(problem, "shift"),
        )


def _distributions(kept: _Kept) -> dict[str, Any]:  # Any: nested JSON
    """Quantiles of each statistic, by class."""
    return {
        name: {
            str(label): [round(float(q), 4) for q in np.quantile(values[kept.labels == label], _QUANTILES)]
            for label in np.unique(kept.labels)
        }
        for name, values in kept.statistics.items()
    }
