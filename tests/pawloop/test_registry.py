"""The registry: versions that exist or do not, and one truth about the champion."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from pawloop import problem as problems
from pawloop.errors import DamagedVersionError, ProblemFileError, RegistryError
from pawloop.registry import Registry, name_of
from tests import published


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    for _ in range(3):
        published.publish(tmp_path)
    return Registry(tmp_path, "colours")


def test_a_version_without_its_card_does_not_exist(registry: Registry) -> None:
    (registry.folder / "2" / "card.json").unlink()
    assert registry.numbers() == [1, 3]
    with pytest.raises(RegistryError, match="no version 2"):
        registry.version(2)


def test_a_number_is_never_given_twice(registry: Registry, tmp_path: Path) -> None:
    (registry.folder / "3" / "card.json").unlink()
    assert published.publish(tmp_path).number == 4


def test_the_number_of_a_champion_that_was_deleted_is_not_given_again(
    registry: Registry, tmp_path: Path
) -> None:
    registry.promote(3, "it is better", expected=None)
    registry.promote(1, "it was not", expected=3)
    shutil.rmtree(registry.folder / "3")
    assert published.publish(tmp_path).number == 4


def test_a_changed_file_is_noticed_by_every_reader(registry: Registry) -> None:
    model = registry.folder / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-10])
    with pytest.raises(DamagedVersionError, match=r"model.onnx.*rollback"):
        registry.version(1)


@pytest.mark.parametrize(
    ("name", "part"),
    [("shadow.json", "shadow"), ("rejected.json", "rejection"), ("overruled.json", "overruled")],
)
def test_a_damaged_note_beside_a_card_is_named(registry: Registry, name: str, part: str) -> None:
    note = registry.folder / "1" / name
    note.write_bytes(b"{")
    with pytest.raises(DamagedVersionError, match=name.replace(".", r"\.")):
        getattr(registry.version(1), part)


def test_a_problem_file_says_which_model_its_name_means_and_the_store_where_there_is_none(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "PROBLEMS", tmp_path)
    assert name_of(tmp_path, "colours") == "colours"
    published.problem_file(tmp_path, "shapes").rename(tmp_path / "colours.toml")
    assert name_of(tmp_path, "colours") == "shapes"
    (tmp_path / "colours.toml").write_text("name =")
    assert name_of(tmp_path, "colours") == "colours"
    with pytest.raises(ProblemFileError, match="holds models of: colours"):
        name_of(tmp_path, "shapes")


def test_promote_and_rollback_move_champion_and_previous(registry: Registry) -> None:
    registry.promote(1, "first", expected=None)
    registry.promote(2, "better", expected=1)
    aliases = registry.rollback("worse at night")
    assert (aliases.champion, aliases.previous) == (1, 2)
    assert [move.reason for move in aliases.history] == ["first", "better", "worse at night"]


def test_a_champion_moved_by_somebody_else_is_not_overwritten(registry: Registry) -> None:
    registry.promote(1, "first", expected=None)
    with pytest.raises(RegistryError, match="is now version 1, not None"):
        registry.promote(2, "stale", expected=None)
    assert registry.aliases().champion == 1


def test_taking_a_promotion_back_restores_what_was_before(registry: Registry) -> None:
    registry.promote(1, "first", expected=None)
    registry.promote(2, "second", expected=1)
    registry.promote(3, "third", expected=2)
    aliases = registry.restore(2, "refused by the server", expected=3)
    assert (aliases.champion, aliases.previous) == (2, 1)


def test_taking_a_promotion_back_restores_the_anchor(registry: Registry) -> None:
    registry.promote(1, "first", expected=None, anchor=1)
    registry.promote(2, "no better than the first", expected=1, anchor=1)
    registry.promote(3, "the best", expected=2, anchor=3)
    assert registry.restore(2, "refused by the server", expected=3).anchor == 1


def test_the_first_promotion_taken_back_leaves_no_champion(registry: Registry) -> None:
    registry.promote(1, "first", expected=None)
    aliases = registry.restore(None, "no", expected=1)
    assert (aliases.champion, aliases.previous) == (None, None)


def test_rollback_without_a_previous_says_so(registry: Registry) -> None:
    registry.promote(1, "first", expected=None)
    with pytest.raises(RegistryError, match="no previous"):
        registry.rollback("x")


def test_a_rejected_version_keeps_its_own_files_untouched(registry: Registry) -> None:
    registry.reject(2, "the server refused it")
    assert registry.version(2).rejection == "the server refused it"


def test_tritons_file_names_the_champion_and_is_repaired(registry: Registry) -> None:
    registry.promote(2, "x", expected=None)
    config = registry.folder / "config.pbtxt"
    assert "versions: [ 2 ]" in config.read_text()
    config.write_text("nonsense")
    registry.repair()
    assert "versions: [ 2 ]" in config.read_text()


def test_an_alias_file_edited_into_nonsense_is_told(registry: Registry) -> None:
    (registry.folder / "aliases.json").write_text("{")
    with pytest.raises(RegistryError, match=r"aliases\.json: cannot be read"):
        registry.aliases()


def _promote(store: str, number: int) -> bool:
    registry = Registry(Path(store), "colours")
    try:
        registry.promote(number, f"by {number}", expected=None)
    except RegistryError:
        return False
    return True


def test_of_promotions_at_once_exactly_one_wins(registry: Registry, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        won = pool.starmap(_promote, [(str(tmp_path), n) for n in (1, 2, 3)])
    assert sum(won) == 1
    written = json.loads((registry.folder / "aliases.json").read_text())
    assert written["serial"] == 1


def test_what_cannot_be_published_whole_leaves_no_folder_and_names_its_own_file(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device", str(source))

    candidate = tmp_path / "candidate"
    candidate.mkdir()
    (candidate / "model.onnx").write_bytes(b"a model")
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="No space left") as caught:
        registry.publish(candidate, registry.version(1).card, lambda *_: None)
    assert Path(caught.value.filename).parent == registry.folder / "4"
    assert not (registry.folder / "4").exists()


def test_what_a_killed_process_left_of_a_version_goes_once_it_is_old(
    registry: Registry, tmp_path: Path
) -> None:
    for number, age_s in ((4, 9000), (5, 60)):
        left = registry.folder / str(number)
        left.mkdir()
        (left / "model.onnx").write_bytes(b"a part")
        (left / ".publishing").touch()
        os.utime(left / ".publishing", (time.time() - age_s,) * 2)
    (registry.folder / "2" / "card.json").unlink()  # damaged, and no left-over
    (registry.folder / "1" / ".publishing").touch()  # killed at the very end
    os.utime(registry.folder / "1" / ".publishing", (0, 0))
    assert published.publish(tmp_path).number == 6
    assert sorted(path.name for path in registry.folder.glob("[0-9]")) == ["1", "2", "3", "5", "6"]
    assert not [*registry.folder.glob("1/.*"), *registry.folder.glob("6/.*")]


def test_a_version_in_the_folder_of_another_is_damaged(registry: Registry, tmp_path: Path) -> None:
    shutil.copytree(registry.folder / "1", registry.folder / "7")
    other = published.publish(tmp_path, "shapes")
    shutil.copytree(other.folder, registry.folder / "8")
    for number, whose in ((7, "colours version 1"), (8, "shapes version 1")):
        with pytest.raises(DamagedVersionError, match=whose):
            registry.version(number)
        with pytest.raises(DamagedVersionError, match="back where it belongs"):
            registry.promote(number, "a test", expected=None)
    assert list(registry.readable()) == [1, 2, 3]


def test_aliases_that_the_machine_cannot_read_are_not_called_nonsense(registry: Registry) -> None:
    (registry.folder / "aliases.json").mkdir()
    with pytest.raises(RegistryError) as told:
        registry.aliases()
    assert "cannot be read" in str(told.value)
    assert "remov" not in str(told.value)
