"""A shadow period against a real journal and a real registry, and its verdict."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pawloop.card import Verdict
from pawloop.journal import Journal
from pawloop.journal_rows import Label, Paired, Part, Prediction, Why
from pawloop.problem import Problem
from pawloop.registry import Registry
from tasks import shadowing
from tasks.shadow_verdict import joined, judge
from tests import published

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def problem(photos: int = 2, **asked: float) -> Problem:
    return Problem.model_validate(
        {
            "name": "colours",
            "classes": ("cat", "dog"),
            "data": {"sources": ["sample://pets"]},
            "shadow": {"photos": photos, **asked},
        }
    )


def answered(
    number: int,
    part: Part,
    label: str = "cat",
    version: int = 1,
    at: datetime = NOW,
    photo: int | None = None,
) -> Prediction:
    return Prediction(
        id=f"id-{number}",
        at=at,
        photo_id=f"photo-{number if photo is None else photo}",
        part=part,
        model="colours",
        version=version,
        precision="float32",
        label=label,
        probabilities={"cat": 0.9, "dog": 0.1} if label == "cat" else {"cat": 0.1, "dog": 0.9},
        reason=None,
        latency_ms=1.0,
        is_kept=False,
    )


def pair(number: int, theirs: str = "cat", true: str | None = None, why: Why = "audit") -> Paired:
    label = None if true is None else Label(f"id-{number}", NOW, true, why)
    return Paired(answered(number, "champion"), answered(number, "challenger", theirs, version=2), label)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(f"sqlite:///{tmp_path / 'store' / 'state' / 'journal.db'}")


def test_the_journal_pairs_the_two_versions_asked_for_since_the_time_asked_for(journal: Journal) -> None:
    early = NOW - timedelta(hours=1)
    journal.add(
        [
            answered(1, "champion"), answered(1, "challenger", "dog", 2),
            answered(2, "champion"), answered(2, "challenger", "cat", 2),
            answered(3, "champion"),  # the challenger had no idle thread
            answered(4, "champion", at=early), answered(4, "challenger", version=2, at=early),
            answered(5, "champion", version=9), answered(5, "challenger", version=2),
            answered(6, "champion", photo=2), answered(6, "challenger", "dog", 2, photo=2),
        ],
        [Label("id-1", NOW, "cat", "correction"), Label("id-1", NOW, "dog", "audit")],
    )  # fmt: skip
    pairs = list(journal.paired("colours", 1, 2, NOW))
    assert [(p.champion.label, p.challenger.label, p.label and p.label.label) for p in pairs] == [
        ("cat", "dog", "dog"), ("cat", "cat", None),
    ]  # fmt: skip
    assert journal.paired_count("colours", 1, 2, NOW) == 2


def test_live_photos_that_do_not_speak_against_a_challenger_promote_it() -> None:
    verdict = judge([pair(n) for n in range(100)], problem(100, disagreement=0.1))
    assert verdict.outcome == "promote"
    assert [bar.passed for bar in verdict.bars] == [True, True, None]


def test_too_few_live_photos_are_no_refusal() -> None:
    verdict = judge([pair(1)], problem(100))
    assert verdict.outcome == "cannot tell"
    assert "1 live photos came in time" in verdict.summary
    assert judge([], problem(100)).outcome == "cannot tell"


@pytest.mark.parametrize(("differing", "outcome"), [(0, "promote"), (9, "cannot tell"), (40, "refuse")])
def test_disagreeing_too_often_refuses_and_perhaps_too_often_cannot_tell(
    differing: int, outcome: str
) -> None:
    pairs = [pair(n, "dog" if n < differing else "cat") for n in range(100)]
    assert judge(pairs, problem(100, disagreement=0.1)).outcome == outcome
    assert judge(pairs, problem(100)).outcome == "promote"  # then it is only told


@pytest.mark.parametrize("why", ["audit", "correction"])
def test_labelled_photos_that_it_is_wrong_on_refuse_it(why: Why) -> None:
    pairs = [pair(n, "dog", "cat", why) for n in range(20)] + [pair(n) for n in range(20, 40)]
    verdict = judge(pairs, problem(40))
    assert verdict.outcome == "refuse"
    assert "expected cost against the champion" in verdict.summary


def test_corrections_of_the_champions_mistakes_do_not_support_the_challenger() -> None:
    corrected = [pair(n, "dog", "dog", "correction") for n in range(50)]
    drawn = [pair(n, "dog", "dog", "audit") for n in range(50)]
    assert judge(corrected, problem(50)).bars[2].passed is None
    assert judge(drawn, problem(50)).bars[2].passed is True


def test_the_shadows_verdict_decides_and_the_gates_bars_stay() -> None:
    gate = judge([pair(n) for n in range(10)], problem(10))
    doubt = judge([pair(1)], problem(10))
    both = joined(gate, doubt)
    assert (both.outcome, both.summary) == ("cannot tell", doubt.summary)
    assert both.bars == [*gate.bars, *doubt.bars]


def test_patience_ends_the_wait_and_the_champion_stays(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    number = published.publish(store).number
    registry = Registry(store, "colours")
    url = f"sqlite:///{store / 'state' / 'journal.db'}"
    seen: list[int | None] = []

    def no_refusal() -> None:
        seen.append(registry.aliases().challenger)

    verdict = shadowing.observed(registry, number, problem(3, patience_s=0.05), url, no_refusal)
    assert verdict.outcome == "cannot tell"
    assert f"pawloop models promote {number}" in verdict.summary
    assert set(seen) == {number}
    assert (registry.aliases().champion, registry.aliases().challenger) == (1, None)
    assert registry.version(number).shadow == verdict
    assert registry.version(number).rejection is None


def test_a_run_that_is_cancelled_leaves_no_challenger_behind(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    number = published.publish(store).number
    registry = Registry(store, "colours")

    def cancelled() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shadowing.observed(registry, number, problem(), f"sqlite:///{tmp_path / 'j.db'}", cancelled)
    assert registry.aliases().challenger is None


def test_a_version_that_the_server_does_not_let_in_is_refused_at_once(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    number = published.publish(store).number
    registry = Registry(store, "colours")
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    verdict = shadowing.observed(registry, number, problem(), url, lambda: "fails its self-test")
    assert verdict.outcome == "refuse"
    assert "fails its self-test" in str(registry.version(number).rejection)


def test_without_a_journal_nothing_is_waited_for(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    number = published.publish(store).number
    verdict = shadowing.observed(Registry(store, "colours"), number, problem(), None, lambda: None)
    assert "PAWLOOP_JOURNAL=off" in verdict.summary


def test_only_a_champion_of_the_same_classes_is_answered_beside(tmp_path: Path) -> None:
    store = tmp_path / "store"
    registry = Registry(store, "colours")
    assert not shadowing.is_asked(registry, problem())  # nobody to be compared with
    published.champion(store)
    assert shadowing.is_asked(registry, problem())
    assert not shadowing.is_asked(registry, problem(photos=0))
    published.promote(store, published.publish(store, classes=("cat", "dog", "owl")))
    assert not shadowing.is_asked(registry, problem())


def test_a_label_of_a_class_that_is_gone_is_left_out() -> None:
    pairs = [replace(pair(1), label=Label("id-1", NOW, "owl", "import")), pair(2)]
    assert judge(pairs, problem()).outcome == "promote"


def test_a_label_holds_for_a_photo_whichever_answer_it_is_about(journal: Journal) -> None:
    journal.add(
        [
            answered(1, "champion", photo=7), answered(1, "challenger", "dog", 2, photo=7),
            answered(2, "champion", photo=7), answered(2, "challenger", "dog", 2, photo=7),
        ],
        [Label("id-2", NOW, "cat", "audit")],
    )  # fmt: skip
    [one] = journal.paired("colours", 1, 2, NOW)
    assert one.label is not None
    assert (one.label.label, one.label.why) == ("cat", "audit")


def test_a_shadow_period_that_nobody_can_be_asked_for_is_told() -> None:
    gate = Verdict(outcome="promote", summary="promoted", bars=[])
    [bar] = shadowing.unasked(gate, problem()).bars
    assert (bar.passed, bar.asked) == (None, "2")
    assert shadowing.unasked(gate, problem(photos=0)) == gate
