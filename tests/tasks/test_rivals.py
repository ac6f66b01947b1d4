"""Whom a challenger is compared with, and when it becomes the one to beat."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pawloop.decision import Costs
from pawloop.registry import Registry
from pawloop.sections import Cost
from tasks import recalled
from tasks.answer import Answers, outputs, save
from tasks.rivals import Asked, Rivals, rivals
from tasks.weights import NETWORK_FILE
from tests import published
from tests.tasks.albums import album, made, problem

COSTS = Costs(((0.0, 1.0), (1.0, 0.0)), ask=0.5)
LABELS = np.array([0, 0, 1, 1])


def told(*answered: int) -> Answers:
    return Answers.of(np.where(np.eye(2)[list(answered)] > 0, 0.9, 0.1))


def kept(folder: Path, number: int, answers: Answers, seen: tuple[int, ...] = ()) -> Asked:
    path = folder / f"rival-{number}.npz"
    save(path, answers, labels=LABELS, seen=np.isin(np.arange(4), seen))
    return Asked(f"version {number}", path)


def test_the_first_model_is_the_anchor() -> None:
    assert Rivals().best(1, told(0, 0, 0, 0), COSTS) == 1


def test_only_a_better_model_becomes_the_anchor(tmp_path: Path) -> None:
    asked = Rivals({1: kept(tmp_path, 1, told(0, 0, 1, 0))})
    assert asked.best(2, told(0, 0, 1, 1), COSTS) == 2
    assert asked.best(2, told(0, 0, 1, 0), COSTS) == 1
    assert asked.best(2, told(1, 0, 1, 0), COSTS) == 1
    assert asked.accuracies(COSTS) == {"version 1": 0.75}


def test_a_champion_that_is_the_best_on_newer_photos_becomes_the_anchor(tmp_path: Path) -> None:
    anchor, champion = kept(tmp_path, 1, told(1, 1, 1, 1)), kept(tmp_path, 2, told(0, 0, 1, 1))
    assert Rivals({1: anchor, 2: champion}).best(3, told(0, 0, 1, 0), COSTS) == 2


def test_photos_that_one_was_trained_on_do_not_make_it_look_better(tmp_path: Path) -> None:
    asked = Rivals(
        {1: kept(tmp_path, 1, told(0, 0, 0, 0), seen=(0, 1)), 2: kept(tmp_path, 2, told(0, 0, 1, 1))}
    )
    assert asked.accuracies(COSTS) == {
        "version 1, on the 2 photos that it was not trained on": 0.0,
        "version 2": 1.0,
    }


def test_photos_that_one_of_them_was_trained_on_decide_nothing(tmp_path: Path) -> None:
    mostly = Rivals({1: kept(tmp_path, 1, told(0, 0, 1, 0), seen=(0, 1, 2))})
    assert mostly.best(2, told(1, 1, 0, 1), COSTS) == 2
    wholly = Rivals({1: kept(tmp_path, 1, told(1, 1, 0, 0), seen=(0, 1, 2, 3))})
    assert wholly.best(2, told(0, 0, 1, 1), COSTS) == 1


def test_a_rival_whose_photos_are_not_known_here_is_asked_about_all(tmp_path: Path) -> None:
    asked, store = problem(album(tmp_path / "photos", each=20)), tmp_path / "store"
    dataset = made(asked, store)
    published.champion(store, asked.name)
    found = rivals(Registry(store, asked.name), asked, dataset, tmp_path)
    [rival] = found.load()
    assert found.before == 1
    assert not rival.seen.any()
    assert "may have learnt some" in found.notes[0]


def test_a_changed_threshold_of_the_unfamiliar_holds_for_both(tmp_path: Path) -> None:
    asked, store = problem(album(tmp_path / "photos", each=20)), tmp_path / "store"
    dataset = made(asked, store)
    champion = published.champion(store, asked.name)
    card = champion.card.model_copy(update={"novelty_threshold": 0.99})
    (champion.folder / "card.json").chmod(0o644)
    (champion.folder / "card.json").write_text(card.model_dump_json())
    careful = asked.model_copy(update={"cost": Cost(unfamiliar=0.5)})
    for number, one in enumerate((asked, careful)):
        found = rivals(Registry(store, asked.name), one, dataset, tmp_path / str(number)).asked[1]
        assert found.load()[0].threshold == one.cost.unfamiliar


def test_a_network_that_a_person_took_back_is_known_by_its_weights(tmp_path: Path) -> None:
    asked, store = problem(album(tmp_path / "photos", each=20)), tmp_path / "store"
    dataset, registry = made(asked, store), Registry(store, asked.name)
    for network in ("a" * 64, "b" * 64):
        version = published.publish(store, asked.name)
        files = version.card.files | {NETWORK_FILE: network}
        card = version.card.model_copy(update={"files": files, "mistake_costs": [[0, 1], [1, 0]]})
        (version.folder / "card.json").chmod(0o644)
        (version.folder / "card.json").write_text(card.model_dump_json())
        (version.folder / NETWORK_FILE).write_bytes(b"")
    registry._move(1, "first", None, {})
    registry._move(2, "better", 1, {})
    assert not rivals(registry, asked, dataset, tmp_path / "before").taken_back
    registry._move(1, "it calls the cat of the house a dog", 2, {}, "person")
    told = rivals(registry, asked, dataset, tmp_path / "after").taken_back
    assert told == {"b" * 64: "it is version 2, taken back: it calls the cat of the house a dog"}
    dear = asked.model_copy(update={"cost": Cost(ask=0.1)})
    assert not rivals(registry, dear, dataset, tmp_path / "dear").taken_back


def test_a_champion_that_lists_the_classes_otherwise_is_compared_by_their_names(tmp_path: Path) -> None:
    asked, store = problem(album(tmp_path / "photos", each=20)), tmp_path / "store"
    dataset = made(asked, store)
    shutil.copytree(dataset.folder, dataset.folder.with_name("0" * 16))  # what the champion learnt from
    published.champion(store, asked.name, tilt=3.0)
    turned = asked.model_copy(update={"classes": asked.classes[::-1]})
    registry = Registry(store, asked.name)

    before = rivals(registry, asked, dataset, tmp_path / "before").asked[1].load()
    after = rivals(registry, turned, dataset, tmp_path / "after").asked[1].load()

    np.testing.assert_array_equal(after[0].probabilities, before[0].probabilities[:, ::-1])
    np.testing.assert_array_equal(after[1], 1 - before[1])


def test_a_version_is_asked_about_new_photos_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, store, asked = album(tmp_path / "photos", each=20), tmp_path / "store", list[int]()

    def counted(*given: Any) -> dict[str, NDArray[np.float32]]:  # Any: as `outputs` takes them
        asked.append(len(given[3]))
        return outputs(*given)

    monkeypatch.setattr(recalled, "outputs", counted)
    about = problem(folder)
    published.champion(store, about.name)
    registry = Registry(store, about.name)
    first = made(about, store)
    rivals(registry, about, first, tmp_path / "one")
    album(folder, each=10, seed=900)
    later = made(about, store)
    bars: list[tuple[str, int, int]] = []
    again = rivals(registry, about, later, tmp_path / "two", lambda *of: bars.append(of)).asked[1].load()[0]
    known, found = ({photo.id for photo in one.photos("test")} for one in (first, later))
    assert 0 < len(found - known) < len(found)
    assert asked == [len(known), len(found - known)]
    assert bars[-1] == ("champion (version 1), test photos", asked[1], asked[1])

    [kept] = (store / "answers").iterdir()
    kept.write_bytes(b"damaged")
    whole = rivals(registry, about, later, tmp_path / "three").asked[1].load()[0]
    assert asked[2] == len(found)
    assert (whole.probabilities == again.probabilities).all()
