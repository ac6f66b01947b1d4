"""Release: a judged candidate becomes a version, a version becomes champion, the server proves it.

Knows the registry and one HTTP question. Knows nothing about training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from pawloop.card import Card
from pawloop.errors import ConfirmError, DamagedVersionError, RegistryError
from pawloop.registry import Registry, Version, read_card, verify
from tasks.cardtext import card_markdown

_ASK_EVERY_S = 0.5
_SHORTEST_DATE = 8  # digits that a run's name begins with


def publish(registry: Registry, candidate: Path, card: Card) -> Version:
    """Give the candidate a version number; its card comes last, in JSON and in words."""
    metrics = json.dumps(card.metrics, indent=2, ensure_ascii=False)

    def stamp(folder: Path, numbered: Card) -> None:
        (folder / "metrics.json").write_text(metrics, encoding="utf-8")
        (folder / "card.md").write_text(card_markdown(numbered), encoding="utf-8")

    return registry.publish(candidate, card, stamp)


def publish_once(registry: Registry, candidate: Path, card: Card) -> Version:
    """As `publish`, unless this run has published it before it was killed or had to wait."""
    return published(registry, card) or publish(registry, candidate, card)


def published(registry: Registry, card: Card, *, or_rejected: bool = False) -> Version | None:
    """The version that a killed or waiting run made of this candidate, judged likewise, if it is whole.

    or_rejected: also one that was marked as not fit for service since.
    """
    for number, version in reversed(registry.readable().items()):
        is_same = version.card.run == card.run and _judged(version.card) == _judged(card)
        if is_same and (or_rejected or version.rejection is None):
            with suppress(DamagedVersionError):
                return registry.version(number)
    return None


def promote_by_hand(store: Path, registry: Registry, what: str, despite: str | None) -> Version:
    """Promote a version's number, or the candidate of a refused run with a person's reason.

    Who is champion already stays so, and nothing moves.
    Raises RegistryError when there is no such version or run, or a reason is wanted.
    """
    is_number = what.isdecimal() and len(what) < _SHORTEST_DATE  # longer ones begin a run's name
    version = registry.version(int(what)) if is_number else _of_run(store, registry, what, despite)
    against = _spoken_against(version)
    if against and not despite:
        raise RegistryError(
            f'version {version.number} is {against}; to overrule that say why: --despite "reason"'
        )
    champion = registry.aliases().champion
    if version.number != champion:
        registry.promote(version.number, despite or "by hand", expected=champion, by="person")
    if against and despite:
        registry.note_overruled(version.number, despite)
    return version


def _of_run(store: Path, registry: Registry, run: str, despite: str | None) -> Version:
    """The version that a run's candidate became, now or earlier."""
    cards = (store / "runs").glob("*/candidate/card.json")
    begun = [card for card in cards if run and card.parents[1].name.startswith(run)]
    if len(begun) > 1:
        begun = [card for card in begun if read_card(card.parent).name == registry.name]
    if len(begun) != 1:
        raise RegistryError(
            f'"{run}" is neither a version number of {registry.name} nor the beginning of one run with a '
            "candidate; `pawloop models list` shows versions, `pawloop experiments list` runs"
        )
    folder = begun[0].parent
    card = Card.model_validate_json((folder / "card.json").read_bytes())
    verify(folder, card)  # what was judged is what is served
    if card.name != registry.name:
        raise RegistryError(f"run {run} made a candidate of {card.name}, not of {registry.name}")
    if card.verdict.outcome != "promote" and not despite:
        raise RegistryError(
            f'run {run} was judged: {card.verdict.summary}; to overrule it say why: --despite "reason"'
        )
    verdict = card.verdict.model_copy(update={"despite": despite})
    told = card.model_copy(update={"verdict": verdict})
    # Also one that was rejected since: of it there is more to say than the run knows.
    return published(registry, told, or_rejected=True) or publish(registry, folder, told)


def _judged(card: Card) -> tuple[str, list[str]]:
    """How a card's candidate was judged, and against whom: the bars' names tell; their timings vary."""
    return card.verdict.outcome, [bar.name for bar in card.verdict.bars]


def _spoken_against(version: Version) -> str | None:
    if version.rejection is not None:
        return f"marked as rejected: {version.rejection}"
    if version.shadow is not None and version.shadow.outcome != "promote":
        return f"not shown fit: {version.shadow.summary}"
    return None


class Confirmed(NamedTuple):
    """is_so: whether the live server answers with the new version; else none was asked. told: for people."""

    is_so: bool
    told: str


def confirm(
    registry: Registry,
    version: int,
    before: int | None,
    server_url: str,
    timeout_s: float,
    ask: Callable[[str], dict[str, Any]] | None = None,
) -> Confirmed:
    """Ask the live server until it answers with the new version; else take the promotion back.

    before: the champion until now, restored when the server refuses the new version or stays
    silent about it for `timeout_s` seconds; then the version is marked as rejected. Where somebody made
    another version champion meanwhile, theirs is the word that counts.
    Raises ConfirmError, after a rejection.
    """
    if not server_url:
        told = "no server was asked whether it answers with the new version (PAWLOOP_SERVER_URL is empty)"
        return Confirmed(False, told)
    made_by = registry.version(version, check=False).card.run
    question, last, is_refused = ask or _readiness, "no answer", False
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and registry.aliases().champion == version:
        try:
            ready = question(f"{server_url}/readyz")
        except httpx.HTTPError as error:
            last = f"{server_url} cannot be reached: {error or type(error).__name__}"
        else:
            model = ready.get("model") or {}
            problem = ready.get("problem", registry.name)
            if problem != registry.name:
                return Confirmed(
                    False,
                    f"{server_url} serves the problem {problem}, not {registry.name}: no server was asked "
                    "whether it answers with the new version; give this run its own PAWLOOP_SERVER_URL",
                )
            last = f"it serves {model.get('name')} version {model.get('version')}"
            is_same = (model.get("name"), model.get("version")) == (registry.name, version)
            if is_same and ready.get("run", made_by) == made_by:  # servers of before do not tell it
                return Confirmed(True, f"{server_url} serves version {version}")
            refused = _refused(ready, version)
            if refused:
                last = f"it refused version {version}: {refused['reason']}"
                is_refused = not refused.get("may_pass")  # else it tries again by itself
            if is_refused:
                break
        time.sleep(_ASK_EVERY_S)
    reason = f"not confirmed by the live server: {last}"
    back = f"version {before} is champion again" if before else "there is no champion"
    try:  # first of all, or a kill between the two would leave a rejected version in service
        registry.restore(before, reason, expected=version)
    except RegistryError:  # somebody else was faster, so it serves no more
        now = registry.aliases().champion
        back = f"version {now} is champion by now" if now else "there is no champion by now"
        if not is_refused:
            return Confirmed(False, f"{back}, so no server was asked any longer to serve version {version}")
    registry.reject(version, reason)
    raise ConfirmError(
        f"{registry.name} version {version} was {reason}. It is marked as rejected, and {back}. "
        f"See that the server runs on the same store and problem, then run again with force"
    )


def refusal(registry: Registry, number: int, server_url: str) -> str | None:
    """Why the live server does not let a version in; None where it does, may yet, or cannot be asked."""
    if not server_url:
        return None
    try:
        ready = _readiness(f"{server_url}/readyz")
    except httpx.HTTPError:
        return None
    if ready.get("problem", registry.name) != registry.name:
        return None
    refused = _refused(ready, number)
    return None if not refused or refused.get("may_pass") else str(refused["reason"])


def _refused(ready: dict[str, Any], number: int) -> dict[str, Any] | None:  # Any: JSON's values
    """What a server says of a version that it did not let in; None where it says nothing of it."""
    return next((one for one in ready.get("refused", []) if one.get("version") == number), None)


def _readiness(url: str) -> dict[str, Any]:  # Any: JSON's values
    """Raises httpx.HTTPError, also for what is not our server's answer, as of a proxy in front of it."""
    answer = httpx.get(url, timeout=5.0)
    try:
        told: dict[str, Any] = answer.json()
    except ValueError:
        raise httpx.DecodingError(f"it answers {answer.status_code} and no JSON") from None
    return told
