"""From drawn photos to a judged file, by the stages themselves, without Prefect."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from pawloop import problem as problems
from pawloop.card import SELF_TEST_TOLERANCE, self_test_images
from pawloop.errors import TrainingError
from pawloop.image import decode
from pawloop.problem import Problem
from pawloop.session import Session
from tasks import (
    candidate,
    collect,
    curate,
    extractors,
    features,
    finetune,
    provenance,
    split,
    train,
    variants,
    weights,
)
from tasks.manifest import Dataset
from tasks.weights import Pretrained

TEXT = """
name = "drawn"
classes = ["cat", "dog"]
[data]
sources = ["sample://pets?count=120&seed=2"]
[model]
backbone = "efficientnet_lite0"
image_size = 128
[train]
fine_tune = "never"
views = 1
"""


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    path = tmp_path_factory.mktemp("problem") / "drawn.toml"
    path.write_text(TEXT)
    return problems.load(path)


@pytest.fixture(scope="module")
def dataset(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    store = tmp_path_factory.mktemp("store")
    return split.split(
        curate.curate(collect.collect(problem, store).path, problem, store).path, problem, store
    )


@pytest.fixture(scope="module")
def pretrained(problem: Problem, dataset: Dataset) -> Pretrained:
    return weights.pretrained(problem, dataset.store)


@pytest.fixture(scope="module")
def trained(problem: Problem, dataset: Dataset, pretrained: Pretrained) -> train.Trained:
    return train.train(dataset, train.plan(problem, pretrained, 0), pretrained, "key")


def test_a_trained_recipe_is_found_again_and_not_trained_twice(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, trained: train.Trained
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nothing is left to do")

    again = train.train(dataset, trained.recipe, pretrained, "key", never)
    assert again.story == trained.story


def test_features_are_computed_once_per_photo_view_and_graph(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, trained: train.Trained
) -> None:
    [folder] = (dataset.store / "features").iterdir()
    parts = sorted(folder.iterdir())
    train.train(dataset, train.plan(problem, pretrained, 1), pretrained, "another seed")
    assert sorted(folder.iterdir()) == parts


def test_another_seed_is_another_recipe(problem: Problem, dataset: Dataset, pretrained: Pretrained) -> None:
    code = provenance.code_version()
    keys = {train.plan(problem, pretrained, seed).key(dataset, code) for seed in (0, 1)}
    assert len(keys) == 2


def test_costs_are_no_part_of_a_recipe(problem: Problem, pretrained: Pretrained) -> None:
    dear = problem.model_copy(update={"cost": problems.Cost(ask=0.01)})
    assert train.plan(dear, pretrained, 0) == train.plan(problem, pretrained, 0)


def test_the_file_is_calibrated_judged_and_named_in_its_own_metadata(
    problem: Problem, dataset: Dataset, trained: train.Trained, tmp_path: Path
) -> None:
    found = candidate.export(trained, dataset, problem, tmp_path / "run")
    assert found.parity <= 1e-4
    ready = variants.calibrate(found, dataset, problem, lambda *_: None)
    judged = variants.judge(found, ready, dataset, problem, lambda *_: None)
    for precision, one in judged.items():
        assert one.evaluation.accuracy >= 0.9, precision
        assert one.answers().probabilities.shape == (len(dataset.photos("test")), 2)
    variant, session = ready["float32"], Session(found.model("float32"))
    assert session.outputs == ("probabilities", "embedding", "novelty")
    assert json.loads(session.metadata["classes"]) == ["cat", "dog"]
    assert session.metadata["dataset"] == dataset.id
    again = session.run(self_test_images(128), ["probabilities"])["probabilities"]
    assert np.abs(again - np.array(variant.self_test)).max() <= SELF_TEST_TOLERANCE["float32"]
    onnx.checker.check_model(onnx.load(found.model("float32")), full_check=True)


def test_the_served_file_says_what_the_stored_features_and_the_head_say(
    problem: Problem, dataset: Dataset, trained: train.Trained, tmp_path: Path
) -> None:
    found = candidate.export(trained, dataset, problem, tmp_path / "run")
    photo = dataset.photos("validation")[0]
    pixels = decode(dataset.read(photo), found.rule)
    served = Session(found.model("float32")).run(pixels[None])["embedding"][0]
    [graph] = (dataset.store / "extractors").glob("*.onnx")
    extractor = features.Extractor(graph, graph.stem, "embedding", found.rule)
    [stored] = features.features(extractor, dataset, [features.Wanted(photo, 0)])
    assert np.allclose(served, stored, atol=2e-3, rtol=2e-3)  # float16's own rounding


def test_fine_tuning_learns_and_is_kept_only_if_it_is_better(
    problem: Problem, dataset: Dataset, pretrained: Pretrained
) -> None:
    recipe = replace(train.plan(problem, pretrained, 0), fine_tune="always", budget_s=600.0)
    tuned = train.train(dataset, recipe, pretrained, "tuned")
    names = [one["name"] for one in tuned.story["candidates"]]
    assert names == ["frozen", "fine-tuned"]
    assert len(tuned.story["curve"]["train_loss"]) == tuned.story["candidates"][1]["epochs"]
    assert (tuned.folder / "network.safetensors").exists()


def test_a_budget_too_short_for_an_epoch_is_told_before_time_is_spent(
    problem: Problem, dataset: Dataset, pretrained: Pretrained
) -> None:
    recipe = replace(train.plan(problem, pretrained, 0), fine_tune="always", budget_s=0.001)
    with pytest.raises(finetune.BudgetError, match="too short for fine-tuning"):
        train.train(dataset, recipe, pretrained, "short")
    assert not (dataset.store / "trained" / "short").exists()


def test_weights_that_are_no_numbers_promote_nothing(
    problem: Problem, dataset: Dataset, pretrained: Pretrained
) -> None:
    broken = replace(
        pretrained,
        blocks={k: v * float("nan") for k, v in pretrained.blocks.items()},
        sha256="broken",
    )
    recipe = train.plan(problem, broken, 0)
    with pytest.raises(TrainingError, match=r"not numbers|not a number"):
        train.train(dataset, recipe, broken, "broken")


def test_exploring_and_training_share_their_embeddings(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, trained: train.Trained
) -> None:
    folder = dataset.store / "features"
    embeddings = extractors.embeddings(dataset, trained.recipe, pretrained)
    parts = sorted(folder.rglob("*.parquet"))

    train.train(dataset, train.plan(problem, pretrained, 2), pretrained, "after exploring")

    assert embeddings is not None
    assert len(embeddings) == dataset.kept(["id"]).num_rows
    assert sorted(folder.rglob("*.parquet")) == parts


def test_a_recipe_replayed_gives_the_same_network_bit_for_bit(
    problem: Problem, dataset: Dataset, pretrained: Pretrained
) -> None:
    recipe = train.plan(problem, pretrained, 5)
    first, second = (train.train(dataset, recipe, pretrained, key) for key in ("replay-1", "replay-2"))
    files = [(one.folder / weights.NETWORK_FILE).read_bytes() for one in (first, second)]
    assert files[0] == files[1]
