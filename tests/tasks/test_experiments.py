"""Judged trainings as rows."""

from __future__ import annotations

import json
import weakref
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow.dataset as arrow
import pyarrow.parquet as pq
import pytest

from pawloop.card import Card, Verdict
from pawloop.errors import RegistryError
from tasks import experiments as module
from tasks import runs
from tasks.experiments import compare, experiments, named, write_parquet
from tasks.finetune import Tuning
from tasks.runs import Cause, Ending
from tests import published

CANDIDATE = {
    "name": "frozen",
    "backbone": "mobilenet_v2",
    "image_size": 224,
    "tuning": None,
    "weights_sha256": "abc",
    "l2": 0.1,
    "views": 1,
    "epochs": 0,
    "curve": {"validation_loss": [], "train_loss": []},
    "validation_log_loss": 0.2,
    "validation_accuracy": 0.9,
    "seconds": 3.0,
}
RECIPE = {
    "seed": 0,
    "training": {
        "candidates": [
            CANDIDATE | {"name": "fine-tuned", "tuning": asdict(Tuning()), "precision": "float32"},
            CANDIDATE,
        ],
        "seconds": 12.5,
        "machine": "two cores",
    },
}


def judged(store: Path, run: str, seed: int) -> None:
    card = published.publish(store).card
    metrics = {"float32": {"accuracy": 0.9, "expected_cost": 0.1, "log_loss": 0.3}}
    recipe = RECIPE | {"seed": seed}
    folder = store / "runs" / run / "candidate"
    folder.mkdir(parents=True)
    made = card.model_copy(update={"run": run, "created_at": run, "recipe": recipe, "metrics": metrics})
    (folder / "card.json").write_text(made.model_dump_json())


def training(store: Path, key: str, candidates: Sequence[object] = (CANDIDATE,), made: str = "2026") -> None:
    about = {"problem": "colours", "dataset": "d", "seed": 3, "code": "c", "made": made, "machine": "m"}
    folder = store / "trained" / key
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps({"about": about, "candidates": candidates}))


def with_its_own_key(card: Path, key: str) -> None:
    card.write_text(json.dumps(json.loads(card.read_text()) | {"recipe_key": key}))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    judged(tmp_path, "20260102-000000-bbbb", seed=1)
    judged(tmp_path, "20260101-000000-aaaa", seed=0)
    (tmp_path / "runs" / "20260103-000000-cccc" / "candidate").mkdir(parents=True)
    return tmp_path


def test_every_candidate_of_a_judged_run_is_a_row_and_a_killed_run_is_none(store: Path) -> None:
    found = experiments(store, "colours")
    names = ["20260101-000000-aaaa", "20260101-000000-aaaa-1", "20260102-000000-bbbb"]
    assert [one.run for one in found[:3]] == names
    assert [one.chosen for one in found[:2]] == ["fine-tuned", "frozen"]
    assert [one.accuracy for one in found[:2]] == [0.9, None]
    assert [one.outcome for one in found[:2]] == ["promote", "not chosen"]
    assert experiments(store, "tools") == []


def test_the_newest_are_had_without_reading_older_cards(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in ("20260101-000000-aaaa", "20260102-000000-bbbb"):
        with_its_own_key(store / "runs" / run / "candidate" / "card.json", f"key of {run}")
        training(store, f"key of {run}", made=run)
    training(store, "abcdef0123456789", made="20260104")
    whole = experiments(store, "colours")
    read, opened = [], module.read_card
    monkeypatch.setattr(module, "read_card", lambda folder: read.append(folder.parent.name) or opened(folder))
    assert [len(experiments(store, "colours", newest)) for newest in (0, 100)] == [0, len(whole)]
    read.clear()
    assert experiments(store, "colours", 2) == whole[-2:]
    assert [one.outcome for one in whole[-2:]] == ["not chosen", "not judged"]
    assert read == ["20260102-000000-bbbb"]


def test_the_cards_are_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        judged(tmp_path, f"2026010{number}-000000-aaaa", seed=number)
    cards: list[weakref.ref[Card]] = []
    held, opened = [], module.read_card

    def noted(folder: Path) -> Card:
        card = opened(folder)
        held.append(sum(one() is not None for one in cards))
        cards.append(weakref.ref(card))
        return card

    monkeypatch.setattr(module, "read_card", noted)
    assert len(experiments(tmp_path, "colours")) == 10
    assert held == [0, 1, 1, 1, 1]  # the one before, until the next is there


def test_a_comparison_tells_only_what_differs(store: Path) -> None:
    differences = compare(experiments(store, "colours"), ["20260101-000000-aaaa", "20260102-000000-bbbb"])
    assert differences["seed"] == [0, 1]
    assert "backbone" not in differences


def test_the_beginning_of_a_name_means_the_run_and_not_its_other_candidates(store: Path) -> None:
    found = experiments(store, "colours")
    assert named(found, "20260101").run == "20260101-000000-aaaa"
    assert named(found, "20260101-000000-aaaa-1").outcome == "not chosen"


def test_a_run_that_does_not_exist_is_told(store: Path) -> None:
    with pytest.raises(RegistryError, match='"2027" names 0 runs; the last ones are 20260101'):
        compare(experiments(store, "colours"), ["2027"])


def test_a_trial_recorded_before_outcomes_were_is_a_row(store: Path) -> None:
    folder = store / "tuned" / "colours" / "search" / "trials"
    folder.mkdir(parents=True)
    facts = {"run": "search-000", "made": "2026", "dataset": "d", "code": "c", "seed": 0, "machine": "m"}
    (folder / "000.json").write_text(json.dumps(facts | {"candidate": CANDIDATE}))
    assert "searched" in [one.outcome for one in experiments(store, "colours")]


def test_a_training_whose_run_never_reached_the_gate_is_told(store: Path) -> None:
    for key in ("abcdef0123456789", published.publish(store).card.recipe_key):
        training(store, key, [CANDIDATE, CANDIDATE])
    found = [one for one in experiments(store, "colours") if one.outcome == "not judged"]
    assert [one.run for one in found] == ["trained-abcdef012345", "trained-abcdef012345-1"]
    assert {(one.seed, one.validation_accuracy, one.accuracy) for one in found} == {(3, 0.9, None)}
    assert not [one for one in experiments(store, "tools") if one.outcome == "not judged"]


@pytest.mark.parametrize(
    "name", ["trained/abcdef/training.json", "tuned/colours/s/trials/000.json", "runs/x/candidate/card.json"]
)
@pytest.mark.parametrize("content", ["", "[]", '{"about": {"problem": "colours"}, "candidates": [{"na'])
def test_a_damaged_record_is_left_out_and_named(
    store: Path, caplog: pytest.LogCaptureFixture, name: str, content: str
) -> None:
    whole = experiments(store, "colours")
    damaged = store / name
    damaged.parent.mkdir(parents=True)
    damaged.write_text(content)
    assert experiments(store, "colours") == whole
    assert f"Left out: {damaged}: " in caplog.text
    assert "delete" in caplog.text


def test_the_last_word_on_a_run_is_its_outcome_and_a_killed_one_is_unfinished(store: Path) -> None:
    for run, ended in (("20260101-000000-aaaa", True), ("20260102-000000-bbbb", False)):
        folder = store / "runs" / run
        (folder / "begun.json").write_text("{}")
        if ended:
            verdict = Verdict(outcome="cannot tell", summary="in the shadow", bars=[])
            runs.end(folder, Cause("key", "terms"), Ending(verdict, champion=1, published=2))
    found = {one.run: one.outcome for one in experiments(store, "colours")}
    assert found["20260101-000000-aaaa"] == "cannot tell"
    assert found["20260102-000000-bbbb"] == "unfinished"


def test_a_row_tells_what_a_candidate_was_made_from(store: Path) -> None:
    found = experiments(store, "colours")
    assert (found[0].weight_decay, found[0].precision) == (0.01, "float32")
    assert (found[1].l2, found[1].weights_sha256) == (0.1, "abc")


def test_the_rows_can_be_read_as_parquet(store: Path, tmp_path: Path) -> None:
    write_parquet(experiments(store, "colours"), tmp_path / "x.parquet")
    assert pq.read_table(tmp_path / "x.parquet")["seed"].to_pylist() == [0, 0, 1, 1]


def test_files_of_frozen_heads_alone_and_of_fine_tuned_networks_are_read_together(tmp_path: Path) -> None:
    frozen, tuned, none = tmp_path / "frozen.parquet", tmp_path / "tuned.parquet", tmp_path / "none.parquet"
    training(tmp_path, "abcdef0123456789")
    write_parquet(experiments(tmp_path, "colours"), frozen)
    judged(tmp_path, "20260101-000000-aaaa", seed=0)
    write_parquet(experiments(tmp_path, "colours"), tuned)
    write_parquet([], none)
    together = arrow.dataset([frozen, tuned, none]).to_table()
    rates = together["rate"].to_pylist()
    assert (len(rates), rates.count(Tuning().rate)) == (4, 1)
