"""A shadow period: the challenger answers live photos beside the champion before it takes its place.

Names the challenger, waits while a server pairs both answers in the journal, and keeps what was found. Knows
registry, journal and patience; knows nothing about servers or what speaks against a challenger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pawloop.card import Bar, Verdict
from pawloop.journal import Journal
from pawloop.journal_rows import Paired
from pawloop.problem import Problem
from pawloop.registry import Registry
from tasks.shadow_verdict import enough, judge

_LOOK_EVERY_S: Final = 2.0


@dataclass(frozen=True)
class Period:
    """Whose answers are compared: two versions of a model, from a time on."""

    model: str
    champion: int
    challenger: int
    since: datetime

    def count(self, journal: Journal) -> int:
        """Photos that both have answered."""
        return journal.paired_count(self.model, self.champion, self.challenger, self.since)

    def pairs(self, journal: Journal) -> list[Paired]:
        """Their answers, a photo once."""
        return list(journal.paired(self.model, self.champion, self.challenger, self.since))


def is_asked(registry: Registry, problem: Problem) -> bool:
    """Whether the problem wants live photos, and a champion that knows the same classes can be compared."""
    if not problem.shadow.photos:
        return False
    champion = registry.readable_champion()
    return champion is not None and set(champion.card.classes) == set(problem.classes)


def unasked(gate: Verdict, problem: Problem) -> Verdict:
    """The gate's verdict where a shadow period was wanted and nobody knows the same classes."""
    if not problem.shadow.photos:
        return gate
    bar = Bar(
        name="live photos in the champion's shadow",
        asked=str(problem.shadow.photos),
        got="none: there is no champion that knows these classes",
        passed=None,
    )
    return gate.model_copy(update={"bars": [*gate.bars, bar]})


def end_left_over(registry: Registry) -> None:
    """End a shadow period whose run was killed; whoever calls holds the problem's lock."""
    if registry.aliases().challenger is not None:
        registry.nominate(None)


def observed(
    registry: Registry,
    number: int,
    problem: Problem,
    journal_url: str | Path | None,
    refusal: Callable[[], str | None],
    on_progress: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Let version `number` answer in the champion's shadow, wait for live photos, and judge.

    refusal: says why a server does not let it in, or None; then waiting ends. The verdict is put beside
    the version's card, and a version that is refused is marked as rejected.
    """
    champion = registry.aliases().champion
    assert champion is not None, "ask `is_asked` first"
    if journal_url is None:
        verdict = _without_a_journal(problem)
    else:
        verdict = _observed(registry, Journal(journal_url), (number, champion), problem, refusal, on_progress)
    if verdict.outcome == "refuse":
        registry.reject(number, f"in the champion's shadow: {verdict.summary}")
    elif verdict.outcome == "cannot tell":
        by_hand = f'`pawloop models promote {number} --despite "reason"`'
        kept = f"{verdict.summary}, and version {number} waits ({by_hand})"
        verdict = verdict.model_copy(update={"summary": kept})
    registry.note_shadow(number, verdict)
    return verdict


def _observed(
    registry: Registry,
    journal: Journal,
    versions: tuple[int, int],
    problem: Problem,
    refusal: Callable[[], str | None],
    on_progress: Callable[[int, int], None] | None,
) -> Verdict:
    reasons: list[str] = []
    since = datetime.fromisoformat(registry.version(versions[0], check=False).card.created_at)

    def count() -> int:
        reasons.extend(filter(None, [refusal()]))
        return wanted if reasons else period.count(journal)

    try:
        with nominated(registry, *versions, since) as period:
            # Pairs of earlier periods count, too; where those were enough and did not tell, as many more.
            wanted = problem.shadow.photos * (1 + period.count(journal) // problem.shadow.photos)
            wait(count, wanted, problem.shadow.patience_s, on_progress)
            pairs = period.pairs(journal)
    finally:
        journal.close()
    return _not_let_in(reasons[0]) if reasons else judge(pairs, problem)


@contextmanager
def nominated(registry: Registry, challenger: int, champion: int, since: datetime) -> Iterator[Period]:
    """The challenger answers beside the champion until the `with` ends, however it ends.

    since: from when on their answers count.
    """
    registry.nominate(challenger)
    try:
        yield Period(registry.name, champion, challenger, since)
    finally:
        registry.nominate(None)


def wait(
    count: Callable[[], int],
    photos: int,
    patience_s: float,
    on_progress: Callable[[int, int], None] | None = None,
    look_every_s: float = _LOOK_EVERY_S,
) -> int:
    """Wait until `count()` says `photos`, or patience is over; what it said last."""
    until = time.monotonic() + patience_s
    while True:
        counted = count()
        if on_progress:
            on_progress(min(counted, photos), photos)
        if counted >= photos or time.monotonic() >= until:
            return counted
        time.sleep(min(look_every_s, max(0.0, until - time.monotonic())))


def _without_a_journal(problem: Problem) -> Verdict:
    bar = enough(0, problem.shadow)
    told = "cannot tell: the journal is switched off (PAWLOOP_JOURNAL=off), so live photos cannot be compared"
    return Verdict(outcome="cannot tell", summary=f"{told}; the champion stays", bars=[bar])


def _not_let_in(reason: str) -> Verdict:
    bar = Bar(name="let in by the live server", asked="yes", got=reason, passed=False)
    return Verdict(
        outcome="refuse", summary=f"refused: the live server does not let it in: {reason}", bars=[bar]
    )
