"""What runs leave behind: who goes on where, and what counts as nothing new."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from pawloop import durable, sections
from pawloop import problem as problems
from pawloop.card import Verdict
from pawloop.registry import Registry
from tasks import runs
from tasks.runs import Cause, Ending
from tests import published

CAUSE = Cause("key", "terms")
SHADOW = "forty photos"
UNSURE = Verdict(outcome="cannot tell", summary="cannot tell: 40 photos", bars=[])


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Version 1 has served, version 2 is champion."""
    for _ in range(2):
        published.promote(tmp_path, published.publish(tmp_path))
    return Registry(tmp_path, "colours")


def cause(registry: Registry, number: int = 2) -> Cause:
    card = registry.version(number).card
    return Cause(card.recipe_key, card.terms_key)


def test_a_run_without_an_end_is_gone_on_with(tmp_path: Path) -> None:
    first = runs.begin(tmp_path, CAUSE)
    assert runs.begin(tmp_path, Cause("another key", "terms")) != first
    assert runs.begin(tmp_path, Cause("key", "a larger margin")) != first
    assert runs.begin(tmp_path, CAUSE) == first
    assert runs.begin(tmp_path, CAUSE, anew=True) != first
    runs.end(first, CAUSE, Ending(UNSURE, None))
    assert runs.begin(tmp_path, CAUSE) != first


def test_a_shadow_period_that_saw_too_few_photos_is_repeated(registry: Registry, tmp_path: Path) -> None:
    run = runs.begin(tmp_path, CAUSE)
    runs.end(run, CAUSE, Ending(UNSURE, champion=2, published=3))
    assert runs.known_result(tmp_path, registry, CAUSE, SHADOW) is None
    assert runs.begin(tmp_path, CAUSE) == run
    runs.end(run, CAUSE, Ending(UNSURE, champion=2))
    assert "cannot tell: 40 photos" in str(runs.known_result(tmp_path, registry, CAUSE, SHADOW))


def test_a_recipe_trained_before_is_nothing_new(registry: Registry, tmp_path: Path) -> None:
    known = cause(registry)
    assert "version 2, the champion" in str(runs.known_result(tmp_path, registry, known, SHADOW))
    assert runs.known_result(tmp_path, registry, CAUSE, SHADOW) is None


def test_a_rejected_version_is_tried_anew(registry: Registry, tmp_path: Path) -> None:
    for number in registry.numbers():
        registry.reject(number, "the server refused it")
    assert runs.known_result(tmp_path, registry, cause(registry), SHADOW) is None


@pytest.mark.parametrize("file", ["model.onnx", "card.json"])
def test_a_champion_that_is_damaged_is_trained_anew(registry: Registry, tmp_path: Path, file: str) -> None:
    known = cause(registry)
    damaged = tmp_path / "models" / "colours" / "2" / file
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    registry.reject(1, "a test")
    assert runs.known_result(tmp_path, registry, known, SHADOW) is None
    assert runs.promoted_and_killed(tmp_path, registry) is None


def test_a_version_whose_run_was_killed_before_it_ended_is_tried_anew(
    registry: Registry, tmp_path: Path
) -> None:
    left = published.publish(tmp_path)
    registry.reject(1, "a test")
    registry.reject(2, "a test")
    known = cause(registry, left.number)
    assert runs.known_result(tmp_path, registry, known, SHADOW) is None
    assert "version 2, which has been champion" not in str(
        runs.known_result(tmp_path, registry, known, SHADOW)
    )


def test_a_version_that_was_rolled_back_is_not_promoted_again(registry: Registry, tmp_path: Path) -> None:
    other = published.publish(tmp_path, tilt=0.2)
    registry.promote(other.number, "by hand", expected=2)
    registry.rollback("worse than it seemed")
    told = runs.known_result(tmp_path, registry, cause(registry, other.number), SHADOW)
    assert "which has been champion" in str(told) or "the champion" in str(told)


def test_what_a_newer_version_displaced_is_trained_again_once_it_is_asked_for_again(
    registry: Registry, tmp_path: Path
) -> None:
    before = cause(registry)
    newer = published.publish(tmp_path, tilt=0.2)
    card = newer.card.model_copy(update={"recipe_key": "of other classes"})
    (newer.folder / "card.json").chmod(0o644)
    (newer.folder / "card.json").write_text(card.model_dump_json())
    registry.promote(newer.number, "a test", expected=2)
    registry.reject(1, "a test")
    assert runs.known_result(tmp_path, registry, before, SHADOW) is None


def test_a_run_killed_after_it_promoted_is_found(registry: Registry, tmp_path: Path) -> None:
    assert runs.promoted_and_killed(tmp_path, registry) is None  # its run said nothing
    champion = registry.version(2)
    run = tmp_path / "runs" / champion.card.run
    run.mkdir(parents=True)
    (run / "begun.json").write_text("{}")
    assert runs.promoted_and_killed(tmp_path, registry) == (champion, run)
    runs.end(run, CAUSE, Ending(UNSURE, 1, 2, 2))
    assert runs.promoted_and_killed(tmp_path, registry) is None


def test_a_run_that_waited_and_was_killed_after_it_promoted_is_found(
    registry: Registry, tmp_path: Path
) -> None:
    champion = registry.version(2)
    run = tmp_path / "runs" / champion.card.run
    durable.write_json(run / "begun.json", asdict(CAUSE))
    runs.end(run, CAUSE, Ending(UNSURE, champion=1, published=2, shadow=SHADOW))
    assert runs.begin(tmp_path, CAUSE) == run
    assert runs.promoted_and_killed(tmp_path, registry) == (champion, run)


def test_a_refusal_by_live_photos_holds_until_others_are_asked_for(
    registry: Registry, tmp_path: Path
) -> None:
    refused = Verdict(outcome="refuse", summary="dearer on live photos", bars=[])
    run = runs.begin(tmp_path, CAUSE)
    runs.end(run, CAUSE, Ending(refused, champion=2, published=3, shadow=SHADOW))
    assert "dearer on live photos" in str(runs.known_result(tmp_path, registry, CAUSE, SHADOW))
    assert runs.known_result(tmp_path, registry, CAUSE, "no photos") is None


def test_a_refusal_by_the_gate_does_not_hang_on_live_photos(registry: Registry, tmp_path: Path) -> None:
    runs.end(runs.begin(tmp_path, CAUSE), CAUSE, Ending(UNSURE, champion=2, shadow=SHADOW))
    assert runs.known_result(tmp_path, registry, CAUSE, "no photos") is not None


def test_what_a_shadow_period_asks_is_no_part_of_what_is_trained() -> None:
    plain = problems.load("cat-vs-dog")
    asking = plain.model_copy(update={"shadow": sections.Shadow(photos=40)})
    assert runs.terms(plain) == runs.terms(asking)
    assert runs.shadow_terms(plain) != runs.shadow_terms(asking)


def test_two_problems_of_the_same_terms_are_told_apart() -> None:
    one = problems.load("cat-vs-dog")
    assert runs.terms(one) != runs.terms(one.model_copy(update={"name": "tools"}))


def test_costs_and_bars_are_part_of_what_counts_as_nothing_new() -> None:
    plain = problems.load("cat-vs-dog")
    dear = plain.model_copy(update={"cost": sections.Cost(ask=0.5)})
    strict = plain.model_copy(update={"gate": sections.Gate(margin=0.5)})
    assert len({runs.terms(one) for one in (plain, dear, strict)}) == 3
    assert runs.terms(plain) == runs.terms(problems.load("cat-vs-dog"))


def test_what_the_card_says_is_part_of_it_too() -> None:
    plain = problems.load("cat-vs-dog")
    licensed = plain.model_copy(update={"data": plain.data.model_copy(update={"licence": "CC0-1.0"})})
    named = plain.model_copy(update={"purpose": "Tells guests from pets."})
    assert len({runs.terms(one) for one in (plain, licensed, named)}) == 3


@pytest.mark.parametrize("name", ["begun.json", "outcome.json"])
def test_a_damaged_record_of_another_run_stops_nobody_and_is_named(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    other = runs.begin(tmp_path, Cause("another key", "terms"))
    runs.end(other, Cause("another key", "terms"), Ending(UNSURE, champion=2))
    damaged = other / name
    damaged.write_bytes(damaged.read_bytes()[:20])
    assert runs.known_result(tmp_path, registry, CAUSE, SHADOW) is None
    assert runs.begin(tmp_path, CAUSE) != other
    assert runs.outcome_of(other) == ("cannot tell" if name == "begun.json" else None)
    assert f"{damaged}: is not as it was written" in caplog.text
    assert f"delete the folder {other}" in caplog.text


def test_a_run_whose_end_is_damaged_is_not_gone_on_with(registry: Registry, tmp_path: Path) -> None:
    run = runs.begin(tmp_path, CAUSE)
    runs.end(run, CAUSE, Ending(UNSURE, champion=2))
    (run / "outcome.json").write_bytes(b"{")
    assert runs.begin(tmp_path, CAUSE) != run


def test_a_verdict_holds_until_the_champion_changes(registry: Registry, tmp_path: Path) -> None:
    runs.end(tmp_path / "runs" / "20260101-000000-bbbb", CAUSE, Ending(UNSURE, champion=2))
    assert "cannot tell: 40 photos" in str(runs.known_result(tmp_path, registry, CAUSE, SHADOW))
    assert runs.known_result(tmp_path, registry, Cause("key", "a larger margin"), SHADOW) is None
    registry.rollback("a test")
    assert runs.known_result(tmp_path, registry, CAUSE, SHADOW) is None


def test_whom_a_person_promoted_is_not_taken_for_a_killed_runs_work(
    registry: Registry, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / registry.version(2).card.run
    durable.write_json(run / "begun.json", {})
    assert runs.promoted_and_killed(tmp_path, registry)
    registry.restore(1, "not confirmed by the live server", expected=2)
    registry.promote(2, "the server was being restarted", expected=1, by="person")
    assert runs.promoted_and_killed(tmp_path, registry) is None
