"""What `pawloop prune` deletes, and what it leaves alone."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pawloop import durable, running
from pawloop.card import Verdict
from pawloop.errors import BusyError, RegistryError
from pawloop.registry import Registry
from tasks import prune, runs
from tasks.runs import Cause, Ending
from tests import published

CAUSE = Cause("recipe", "terms")
LATER = datetime.now(UTC) + timedelta(days=1)
VERDICT = Verdict(outcome="promote", summary="better", bars=[])


def test_versions_without_a_part_go_and_what_a_person_let_go_of_stays(tmp_path: Path) -> None:
    for tilt in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5):
        published.publish(tmp_path, tilt=tilt)
    registry = Registry(tmp_path, "colours")
    for before, number in ((None, 1), (1, 2), (2, 3), (3, 4)):
        registry.promote(number, "a test", expected=before, anchor=2 if number == 2 else None)
    registry.rollback("worse than it seemed")  # 3 serves, 4 is previous
    registry.promote(5, "by hand", expected=3, by="person")  # 3 is previous; 4 would come back by itself
    found = prune.old(tmp_path, LATER)
    assert [(one.kind, one.name) for one in found] == [("version", "colours 1")]
    assert found[0].size > 1000
    prune.remove(tmp_path, found, LATER)
    assert registry.numbers() == [2, 3, 4, 5, 6]
    assert published.publish(tmp_path, tilt=0.6).number == 7
    assert prune.old(tmp_path, datetime.now(UTC) - timedelta(days=1)) == []


def test_a_version_with_a_part_is_not_removed(tmp_path: Path) -> None:
    champion = published.champion(tmp_path)
    with pytest.raises(RegistryError, match="plays a part"):
        Registry(tmp_path, "colours").remove(champion.number)
    assert champion.folder.exists()


def test_who_is_put_back_has_no_previous_that_is_gone(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "colours")
    for before, number in ((None, 1), (1, 2), (2, 3)):
        published.publish(tmp_path)
        registry.promote(number, "a test", expected=before)
    registry.remove(1)
    assert registry.restore(2, "the server refused it", expected=3).previous is None


def test_nothing_is_pruned_where_it_cannot_be_told_what_serves(tmp_path: Path) -> None:
    champion = published.champion(tmp_path)
    (champion.folder / "card.json").chmod(0o644)
    (champion.folder / "card.json").write_text("{")
    with pytest.raises(RegistryError, match=r"card\.json"):
        prune.old(tmp_path, LATER)


def test_of_old_runs_what_tells_of_them_stays(tmp_path: Path) -> None:
    ended, dead, young = (a_run(tmp_path, number) for number in range(3))
    runs.end(ended, CAUSE, Ending(VERDICT, champion=None))
    runs.end(young, CAUSE, Ending(VERDICT, champion=None))
    long_ago(ended)
    long_ago(dead)
    before = datetime.now(UTC) - timedelta(days=90)
    found = prune.old(tmp_path, before)
    assert {one.name for one in found} == {ended.name, dead.name}
    prune.remove(tmp_path, found, before)
    assert sorted(path.name for path in ended.rglob("*.*")) == ["begun.json", "card.json", "outcome.json"]
    assert not dead.exists()
    assert (young / "candidate" / "model.onnx").exists()
    assert prune.old(tmp_path, before) == []


def test_what_was_used_since_it_was_listed_stays(tmp_path: Path) -> None:
    run = a_run(tmp_path, 1)
    long_ago(run)
    before = datetime.now(UTC) - timedelta(days=90)
    found = prune.old(tmp_path, before)
    durable.write_bytes(run / "candidate" / "model.onnx", b"another")
    prune.remove(tmp_path, found, before)
    assert (run / "candidate" / "model.onnx").exists()


def test_the_run_of_the_champion_stays_whole(tmp_path: Path) -> None:
    champion = published.champion(tmp_path)
    run = tmp_path / "runs" / champion.card.run
    durable.write_bytes(run / "candidate" / "model.onnx", b"network")
    assert prune.old(tmp_path, LATER) == []


def test_what_can_be_made_again_goes_but_extractors_of_young_features(tmp_path: Path) -> None:
    for path in ("trained/a/network.safetensors", "features/b/part.parquet", "features/c/part.parquet"):
        durable.write_bytes(tmp_path / path, b"bytes")
    for key in ("b", "c"):
        durable.write_bytes(tmp_path / "extractors" / f"{key}.onnx", b"bytes")
    durable.write_bytes(tmp_path / "cache" / "fetched" / "d" / "e" / "pets.zip", b"bytes")
    for folder in ("trained", "features", "extractors", "cache"):
        long_ago(tmp_path / folder)
    durable.write_bytes(tmp_path / "features" / "c" / "another.parquet", b"bytes")
    found = prune.old(tmp_path, datetime.now(UTC) - timedelta(days=90))
    assert {(one.kind, one.name) for one in found} == {
        ("trained", "a"), ("features", "b"), ("extractors", "b.onnx"), ("cache/fetched", "d"),
    }  # fmt: skip


def test_a_full_disk_is_no_reason_not_to_prune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        published.champion(tmp_path)
    published.publish(tmp_path)
    durable.write_bytes(tmp_path / "trained" / "a" / "network.safetensors", b"bytes")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    found = prune.old(tmp_path, LATER)
    prune.remove(tmp_path, found, LATER)
    assert {one.kind for one in found} == {"version", "trained"}
    assert prune.old(tmp_path, LATER) == []


@pytest.mark.parametrize("what", ["retrain", "tune"])
def test_nothing_is_pruned_while_a_retrain_or_a_search_runs(tmp_path: Path, what: str) -> None:
    published.champion(tmp_path)
    with (
        durable.lock(running.run_lock(tmp_path, "colours", what), f"{what} run 7"),
        pytest.raises(BusyError, match=f"{what} run 7"),
    ):
        prune.remove(tmp_path, prune.old(tmp_path, LATER), LATER)


def a_run(store: Path, number: int) -> Path:
    run = runs.begin(store, Cause(f"{CAUSE.key} {number}", CAUSE.terms))
    for name in ("candidate/card.json", "candidate/model.onnx", "told/answers-float32.npz"):
        durable.write_bytes(run / name, b"{}")
    return run


def long_ago(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (1e9, 1e9))
