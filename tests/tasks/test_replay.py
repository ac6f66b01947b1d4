"""A recorded training done again."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pawloop import card as cards
from pawloop.errors import RegistryError, WeightsError
from pawloop.problem import Problem
from pawloop.sections import Data, Model, Train
from tasks import recipe as recipes
from tasks import train, weights
from tasks.manifest import Dataset
from tasks.replay import replay
from tasks.weights import NETWORK_FILE
from tests import published
from tests.tasks import albums

RUN = "20260101-000000-aaaa"


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem(
        name="drawn",
        classes=("cat", "dog"),
        data=Data(sources=("sample://pets?count=60&seed=2",)),
        model=Model(backbone="efficientnet_lite0", image_size=64),
        train=Train(views=0),
    )


@pytest.fixture
def dataset(problem: Problem, tmp_path: Path) -> Dataset:
    return albums.made(problem, tmp_path / "store")


def judged(dataset: Dataset, problem: Problem, epochs: int) -> Path:
    """A run whose network had so many epochs of fine-tuning; the folder of its candidate."""
    own = weights.pretrained_all(problem, dataset.store)
    recipe = replace(recipes.plan(problem, own[:1], 3), fine_tune="never")
    if epochs:
        pinned = recipes.Pinned(epochs, "float32")
        recipe = replace(recipe, trials=recipe.trials[:1], fine_tune="always", pinned=pinned)
    trained = train.train(dataset, recipe, own, "first")
    card = published.publish(dataset.store).card.model_copy(
        update={
            "name": problem.name,
            "run": RUN,
            "recipe": asdict(recipe) | {"training": trained.story},
            "dataset": cards.Dataset(id=dataset.id, sources=[], counts={}),
            "metrics": {"float32": {"accuracy": 0.9, "expected_cost": 0.1, "log_loss": 0.3}},
        }
    )
    folder = dataset.store / "runs" / RUN / "candidate"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(card.model_dump_json())
    (folder / NETWORK_FILE).write_bytes((trained.folder / NETWORK_FILE).read_bytes())
    return folder


@pytest.mark.parametrize("epochs", [0, 1])
def test_the_same_recipe_gives_the_same_network_and_leaves_nothing_behind(
    problem: Problem, dataset: Dataset, epochs: int
) -> None:
    judged(dataset, problem, epochs)
    before = sorted((dataset.store / "trained").iterdir())
    told = replay(dataset.store, problem, RUN[:9], lambda *_: None)
    assert told.is_same
    assert told.run == RUN
    assert [one.split()[0] for one in told.differs] == ["code"]
    assert sorted((dataset.store / "trained").iterdir()) == before


def test_another_network_is_told(problem: Problem, dataset: Dataset) -> None:
    folder = judged(dataset, problem, 0)
    content = bytearray((folder / NETWORK_FILE).read_bytes())
    content[-1] ^= 1
    (folder / NETWORK_FILE).write_bytes(content)
    assert not replay(dataset.store, problem, RUN, lambda *_: None).is_same


def test_what_cannot_be_replayed_is_told(
    problem: Problem, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = judged(dataset, problem, 1)
    with pytest.raises(RegistryError, match="not chosen, so its network was not kept"):
        replay(dataset.store, problem, f"{RUN}-1", lambda *_: None)
    newer = weights.Pretrained("efficientnet_lite0", {}, "another file", "asked for", "0" * 64)
    monkeypatch.setattr("tasks.replay.pretrained_all", lambda *_: [newer])
    with pytest.raises(WeightsError, match="began with other weights"):
        replay(dataset.store, problem, RUN, lambda *_: None)
    (folder / NETWORK_FILE).unlink()
    with pytest.raises(RegistryError, match="is gone"):
        replay(dataset.store, problem, RUN, lambda *_: None)


def test_a_run_that_began_from_the_champion_is_replayed(problem: Problem, dataset: Dataset) -> None:
    network = (judged(dataset, problem, 0) / NETWORK_FILE).read_bytes()
    shutil.rmtree(dataset.store / "runs")
    shutil.rmtree(dataset.store / "trained")
    champion = published.publish(dataset.store, problem.name)
    card = champion.card.model_copy(update={"backbone": "efficientnet_lite0"})
    (champion.folder / "card.json").write_text(card.model_dump_json())
    (champion.folder / NETWORK_FILE).write_bytes(network)
    published.promote(dataset.store, champion)
    model = problem.model.model_copy(update={"init": "champion"})
    going_on = problem.model_copy(update={"model": model})
    judged(dataset, going_on, 0)

    assert replay(dataset.store, going_on, RUN, lambda *_: None).is_same


def test_other_weights_of_another_network_in_the_problem_do_not_stand_in_the_way(
    problem: Problem, dataset: Dataset, tmp_path: Path
) -> None:
    judged(dataset, problem, 0)
    own = tmp_path / "mine.safetensors"
    save_file({"weight": torch.zeros(3)}, own)
    changed = problem.model_copy(
        update={"model": Model(backbone="mobilenet_v2", image_size=64, init=str(own))}
    )
    assert replay(dataset.store, changed, RUN, lambda *_: None).is_same
