"""Long lists: the newest rows, and where the others are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pawloop.card import Card
from pawloop.cli import app
from pawloop.newest import newest
from pawloop.registry import read_card
from tests import published
from tests.tasks.albums import album, made, problem
from tests.tasks.test_experiments import training

LISTS = ["models", "data", "experiments"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three of each, where a page holds two."""
    store, photos = tmp_path / "store", tmp_path / "photos"
    for number in range(3):
        published.publish(store)
        made(problem(album(photos, each=8 + number)).model_copy(update={"name": "colours"}), store)
        training(store, f"{number}" * 16, made=f"2026-01-0{number + 1}")
    monkeypatch.setattr("pawloop.newest._MOST", 2)
    monkeypatch.setenv("PAWLOOP_STORE", str(store))
    monkeypatch.setenv("PAWLOOP_PROBLEM", "colours")
    return store


def listed(what: str, *words: str) -> Result:
    return CliRunner().invoke(app, [what, "list", *words], catch_exceptions=False)


def first_cells(told: Result) -> list[str]:
    return [line.split("\t")[0] for line in told.stdout.splitlines()[1:]]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("what", LISTS)
def test_a_long_list_shows_the_newest_and_says_how_to_see_the_others(what: str) -> None:
    whole, page, one = listed(what, "--limit", "0"), listed(what), listed(what, "--limit", "1")

    assert len(first_cells(whole)) == 3
    assert first_cells(page) == first_cells(whole)[:2]
    assert first_cells(one) == first_cells(whole)[:1]
    assert page.stderr == "and 1 older; --limit 0 lists all\n"
    assert one.stderr.startswith("and 2 older;")
    assert "older" not in whole.stderr


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("what", LISTS)
def test_machines_get_all_unless_they_ask_for_fewer(what: str) -> None:
    whole = json.loads(listed(what, "--json").stdout)

    assert len(whole) == 3
    assert json.loads(listed(what, "--json", "--limit", "1").stdout) == whole[:1]


def test_cards_of_versions_that_are_not_shown_are_not_read(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def noted(folder: Path) -> Card:
        read.append(folder.name)
        return read_card(folder)

    monkeypatch.setattr("pawloop.registry.read_card", noted)
    listed("models")
    assert read == ["3", "2"]


def test_a_page_of_damaged_versions_does_not_say_that_there_are_none(store: Path) -> None:
    (store / "models" / "colours" / "3" / "card.json").write_text("{")
    told = listed("models", "--limit", "1").stderr
    assert "version 3 is not listed" in told
    assert "and 2 older;" in told
    assert "no versions yet" not in told


def test_twenty_are_a_page() -> None:
    rows = range(30)
    assert len(newest(rows, None, as_json=False)) == 20
    assert len(newest(rows[:20], None, as_json=False)) == 20
