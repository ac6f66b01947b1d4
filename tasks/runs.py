"""What runs leave behind: a folder each, which says what it began with and how it ended.

A run that was killed has no end; the next one of the same recipe, judged by the same terms, goes on in its
folder. Knows folders and how runs end; knows nothing about how a stage works.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pawloop import durable
from pawloop.card import Verdict
from pawloop.errors import DamagedFileError, DamagedVersionError
from pawloop.problem import Problem
from pawloop.registry import Registry, Version, verify
from tasks.provenance import new_run

log = logging.getLogger(__name__)

_BEGUN: Final = "begun.json"
_OUTCOME: Final = "outcome.json"


@dataclass(frozen=True)
class Cause:
    """Why a run is made. key: names recipe, photos and code. terms: as the function of this name has it."""

    key: str
    terms: str


@dataclass(frozen=True)
class Ending:
    """What came of a run.

    champion: who it was judged against. published, promoted: its version, if any. shadow: the terms of its
    shadow period, as `shadow_terms` has them.
    """

    verdict: Verdict
    champion: int | None
    published: int | None = None
    promoted: int | None = None
    shadow: str = ""

    @property
    def is_waiting(self) -> bool:
        """Whether a version waits for another shadow period: live photos were too few to tell."""
        return self.published is not None and self.verdict.outcome == "cannot tell"


def terms(problem: Problem) -> str:
    """One name for all that a candidate is judged by, decides by and says on its card, and does not learn."""
    parts = (problem.cost, problem.gate, problem.evaluate)
    said = (problem.purpose, problem.data.licence)
    return durable.content_key(problem.name, *(part.model_dump() for part in parts), *said)


def shadow_terms(problem: Problem) -> str:
    """One name for what a shadow period asks of live photos; not of `terms`, since it trains nothing anew."""
    return durable.content_key(problem.shadow.model_dump())


def begin(store: Path, cause: Cause, *, anew: bool = False) -> Path:
    """The folder of a run: of the latest with this cause that did not end, else (or `anew`) a new one.

    Whoever calls holds the problem's lock, so a run without an end is a dead one.
    """
    left = [] if anew else sorted((store / "runs").glob(f"*/{_BEGUN}"), reverse=True)
    for begun in left:
        if _read(begun) == asdict(cause) and not _is_over(begun.parent):
            (begun.parent / _OUTCOME).unlink(missing_ok=True)  # of the wait that ends now
            return begun.parent
    run = store / "runs" / new_run()
    durable.write_json(run / _BEGUN, asdict(cause))
    return run


def end(run: Path, cause: Cause, ending: Ending) -> None:
    """Remember how a run ended."""
    told = {
        "champion": ending.champion,
        "version": ending.promoted,
        "outcome": ending.verdict.outcome,
        "summary": ending.verdict.summary,
        "is_waiting": ending.is_waiting,
        "shadow": ending.shadow if ending.published else None,
    }
    durable.write_json(run / _OUTCOME, {**asdict(cause), **told})


def outcome_of(run: Path) -> str | None:
    """The last verdict of a run, "unfinished" where it has no end.

    None for one that did not say it began, and where what it said of its end is damaged.
    """
    try:
        return _read(run / _OUTCOME).get("outcome")
    except FileNotFoundError:
        return "unfinished" if (run / _BEGUN).exists() else None


def promoted_and_killed(store: Path, registry: Registry) -> tuple[Version, Path] | None:
    """The champion and its run, where that was killed between promoting it and its end.

    One that a person promoted since needs nobody's word.
    """
    champion = registry.readable_champion()
    if champion is None or champion.overruled is not None:
        return None
    moves = [move for move in registry.aliases().history if move.champion == champion.number]
    if moves and moves[-1].by == "person":
        return None
    run = store / "runs" / champion.card.run
    return (champion, run) if outcome_of(run) == "unfinished" else None


def known_result(store: Path, registry: Registry, cause: Cause, shadow: str) -> str | None:
    """What this very cause gave before, where nothing has changed since.

    That is the champion, one before it that gave way to an older one, or a verdict against the champion that
    still serves. One that gave way to a newer one is no answer: what made that one is taken back. A shadow
    period that saw too few photos, or went by other terms, is worth another one.
    """
    aliases = registry.aliases()
    for number, version in reversed(registry.readable().items()):
        is_same = Cause(version.card.recipe_key, version.card.terms_key) == cause
        if not is_same or version.rejection is not None or not _is_whole(version):
            continue
        if number == aliases.champion:
            return f"it was trained before as version {number}, the champion"
        if aliases.taken_back(number):
            return f"it was trained before as version {number}, which has been champion"
    for path in sorted((store / "runs").glob(f"*/{_OUTCOME}"), reverse=True):
        ended = _read(path)
        is_same = (ended.get("key"), ended.get("terms")) == (cause.key, cause.terms)
        is_refused = ended.get("champion") == aliases.champion and ended.get("version") is None
        is_open = ended.get("is_waiting", False) or ended.get("shadow") not in (None, shadow)
        if is_same and is_refused and not is_open:  # older runs do not say
            return f"run {path.parent.name} trained it before: {ended.get('summary')}"
    return None


def _is_whole(version: Version) -> bool:
    try:
        verify(version.folder, version.card)
    except DamagedVersionError:
        return False
    return True


def _is_over(run: Path) -> bool:
    try:
        return not _read(run / _OUTCOME).get("is_waiting", False)  # older runs do not say
    except FileNotFoundError:
        return False


def _read(path: Path) -> dict[str, Any]:  # Any: JSON's values
    """What a run says of its beginning or its end; nothing where that is damaged.

    Of a run that cannot be told from others no other one can go on, or know its verdict: both are made again.
    """
    try:
        return durable.read_json(path, dict, f"delete the folder {path.parent}")
    except DamagedFileError as error:
        log.warning("Left out: %s", error)
        return {}
