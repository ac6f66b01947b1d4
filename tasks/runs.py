"""What runs leave behind: a folder each, which says what it began with and how it ended.

A run that was killed has no end; the next one of the same recipe, judged by the same terms, goes on in its
folder. Knows folders and how runs end; knows nothing about how a stage works.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pawloop import durable
from pawloop.card import Verdict
from pawloop.problem import Problem
from pawloop.registry import Registry
from tasks.provenance import new_run

_BEGUN: Final = "begun.json"
_OUTCOME: Final = "outcome.json"


@dataclass(frozen=True)
class Cause:
    """What decides all that a run gives but its verdict.

    key: names recipe, photos and code. terms: as the function of this name has it.
    """

    key: str
    terms: str


def terms(problem: Problem) -> str:
    """One name for all that a candidate is judged by, and decides by: costs, bars and questions."""
    return durable.content_key(
        *(part.model_dump() for part in (problem.cost, problem.gate, problem.evaluate))
    )


def begin(store: Path, cause: Cause) -> Path:
    """The folder of a run: of the latest with this cause that did not end, else a new one.

    Whoever calls holds the problem's lock, so a run without an end is a dead one.
    """
    for begun in sorted((store / "runs").glob(f"*/{_BEGUN}"), reverse=True):
        if _read(begun) == asdict(cause) and not _is_over(begun.parent):
            return begun.parent
    run = store / "runs" / new_run()
    durable.write_json(run / _BEGUN, asdict(cause))
    return run


def end(
    run: Path, cause: Cause, champion: int | None, version: int | None, verdict: Verdict, is_waiting: bool
) -> None:
    """Remember how a run ended.

    champion: who it was judged against. version: what was promoted. is_waiting: whether a version waits for
    another shadow period.
    """
    durable.write_json(
        run / _OUTCOME,
        {
            **asdict(cause),
            "champion": champion,
            "version": version,
            "outcome": verdict.outcome,
            "summary": verdict.summary,
            "is_waiting": is_waiting,
        },
    )


def outcome(run: Path) -> str | None:
    """The last verdict of a run, "unfinished" where it has no end; None for one that did not say it began."""
    try:
        return str(_read(run / _OUTCOME)["outcome"])
    except FileNotFoundError:
        return "unfinished" if (run / _BEGUN).exists() else None


def known_result(store: Path, registry: Registry, cause: Cause) -> str | None:
    """What this very cause gave before, where nothing has changed since.

    That is a version in the registry, or a verdict against the champion that still serves. A version whose
    run was killed before it ended is none, and a shadow period that saw too few photos is worth another one.
    """
    champion, runs = registry.aliases().champion, store / "runs"
    for number in reversed(registry.numbers()):
        version = registry.version(number, check=False)
        card = version.card
        if Cause(card.recipe_key, card.terms_key) != cause or version.rejection is not None:
            continue
        if number == champion:
            return f"it was trained before as version {number}, the champion"
        if _is_over(runs / card.run):
            return f"it was trained before as version {number}, kept in the registry"
    for path in sorted(runs.glob(f"*/{_OUTCOME}"), reverse=True):
        ended = _read(path)
        is_same = (ended["key"], ended.get("terms")) == (cause.key, cause.terms)
        is_refused = ended["champion"] == champion and ended["version"] is None
        if is_same and is_refused and _is_over(path.parent):
            return f"run {path.parent.name} trained it before: {ended['summary']}"
    return None


def _is_over(run: Path) -> bool:
    try:
        return not _read(run / _OUTCOME).get("is_waiting", False)  # older runs do not say
    except FileNotFoundError:
        return False


def _read(path: Path) -> dict[str, Any]:  # Any: JSON's values
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
