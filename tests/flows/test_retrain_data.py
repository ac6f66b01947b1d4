"""What the flow `retrain` says and refuses before it trains, by its tasks, without a Prefect server."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from flows import retrain
from pawloop import durable
from pawloop.errors import BusyError, DatasetError, SourceError
from pawloop.registry import Registry
from pawloop.sections import Cost
from tasks import allowed
from tasks.collect import collect
from tasks.rivals import rivals
from tests import published
from tests.tasks.albums import album, made, problem

Event = dict[str, Any]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """The events that a task emits, caught before they leave."""
    caught: list[Event] = []
    monkeypatch.setattr(
        "flows.retrain.emit_event", lambda name, **rest: caught.append({"name": name, **rest})
    )
    monkeypatch.setattr("flows.retrain.get_run_logger", lambda: logging.getLogger("test"))
    return caught


def test_failed_checks_are_an_event_that_notifications_can_be_attached_to(
    events: list[Event], tmp_path: Path
) -> None:
    album(tmp_path / "photos", ("cat",), each=40)
    about = problem(album(tmp_path / "photos", ("dog",), each=3, seed=500))
    dataset = made(about, tmp_path / "store")

    with pytest.raises(DatasetError, match="not fit to train on"):
        retrain.validate.fn(dataset, about, None)

    [event] = events
    assert event["name"] == "pawloop.validation.failed"
    assert event["resource"] == {"prefect.resource.id": f"pawloop.dataset.test.{dataset.id}"}
    assert 'photos of "dog": asked at least 20, got 3' in event["payload"]["checks"]


def test_checks_that_pass_are_no_event(events: list[Event], tmp_path: Path) -> None:
    about = problem(album(tmp_path / "photos", each=40))

    retrain.validate.fn(made(about, tmp_path / "store"), about, None)

    assert events == []


def _held(path: Path, is_held: Any, may_end: Any) -> None:  # Any: multiprocessing's events
    with durable.lock(path, "retrain run brave-otter"):
        is_held.set()
        may_end.wait(30)


def test_a_second_retrain_of_the_same_problem_is_told_who_runs_and_works_afterwards(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "test.lock"
    context = multiprocessing.get_context("spawn")
    is_held, may_end = context.Event(), context.Event()
    other = context.Process(target=_held, args=(lock, is_held, may_end))
    other.start()
    assert is_held.wait(30)

    with pytest.raises(BusyError, match="held by retrain run brave-otter"), durable.lock(lock, "another"):
        pass
    other.kill()  # as the kernel does for want of memory
    other.join()

    with durable.lock(lock, "another"):
        assert "another" in lock.read_text()


def test_a_class_that_disappears_is_named_and_the_store_stays_usable(tmp_path: Path) -> None:
    folder, store = album(tmp_path / "photos"), tmp_path / "store"
    before = made(problem(folder), store)
    (folder / "dog").rename(tmp_path / "dog")

    with pytest.raises(SourceError, match='only "cat" found, no photo of "dog"'):
        collect(problem(folder), store)
    (tmp_path / "dog").rename(folder / "dog")

    assert made(problem(folder), store).id == before.id


def test_renamed_classes_are_a_new_problem_whose_first_model_has_no_champion(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.promote(store, published.publish(store, "test", classes=("cat", "dog")))
    about = problem(album(tmp_path / "photos", ("cat", "hund")), classes=("cat", "hund"))

    found = rivals(Registry(store, "test"), about, made(about, store), tmp_path)

    assert found.load() == []
    assert found.lost == ("dog",)
    assert "new problem, whose first model has no champion" in found.notes[0]


def test_a_run_may_name_only_allowed_sources_and_the_problems_own(tmp_path: Path) -> None:
    about = problem("https://host/pets.zip")

    assert allowed.varied(about, "https://host/pets.zip", None, ()).data.sources == ("https://host/pets.zip",)
    assert allowed.varied(about, None, "mobilenet_v2", ()).model.backbone == "mobilenet_v2"
    with pytest.raises(SourceError, match="does not allow"):
        allowed.varied(about, str(tmp_path), None, ("/elsewhere",))


def test_photos_are_compared_with_what_the_champion_learnt_from_though_a_stopped_night_lies_between(
    tmp_path: Path,
) -> None:
    store, photos = tmp_path / "store", album(tmp_path / "photos", each=40)
    about = problem(photos)
    learnt = made(about, store)
    champion = published.champion(store, about.name)
    card = champion.card.model_copy(
        update={"dataset": champion.card.dataset.model_copy(update={"id": learnt.id})}
    )
    (champion.folder / "card.json").chmod(0o644)
    (champion.folder / "card.json").write_text(card.model_dump_json())
    album(photos, each=50)
    stopped = made(about, store)
    album(photos, each=51)
    now = made(about, store)
    registry = Registry(store, about.name)
    assert retrain.reference(registry, now) == learnt
    (registry.folder / "aliases.json").unlink()
    assert retrain.reference(registry, now) == stopped


def test_costs_that_the_champion_does_not_decide_by_are_told(tmp_path: Path) -> None:
    about, registry = problem(tmp_path), Registry(tmp_path / "store", "test")
    assert not retrain._by_old_costs(registry, about)
    champion = published.champion(tmp_path / "store", "test")
    held = champion.card.ask_cost
    as_held = about.model_copy(update={"cost": Cost(ask=held)})
    assert not retrain._by_old_costs(registry, as_held)
    dearer = about.model_copy(update={"cost": Cost(ask=held + 1, mistake={"dog": {"cat": 5.0}})})
    told = retrain._by_old_costs(registry, dearer)
    assert f"version 1 decides by other costs than the problem file names: ask {held:g}, not" in told
    assert "other costs of mistakes" in told
