"""From drawn photos to a judged file, by the stages themselves, without Prefect."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from export import onnx as graphs
from pawloop import problem as problems
from pawloop import sections
from pawloop.card import SELF_TEST_TOLERANCE, Precision, self_test_images
from pawloop.errors import TrainingError
from pawloop.image import decode
from pawloop.problem import Problem
from pawloop.session import Session
from tasks import (
    candidate,
    collect,
    contest,
    curate,
    extractors,
    features,
    finetune,
    head,
    inputs,
    provenance,
    racer,
    split,
    train,
    trials,
    variants,
    weights,
)
from tasks import recipe as recipes
from tasks.calibrate import fit_temperature
from tasks.manifest import Dataset
from tasks.weights import Pretrained
from tests.serve.running import until

TEXT = """
name = "drawn"
classes = ["cat", "dog"]
[data]
sources = ["sample://pets?count=180&seed=2"]
[model]
backbone = "efficientnet_lite0"
image_size = 128
[train]
fine_tune = "never"
views = 1
crop_modes = ["center"]
[evaluate]
robustness_photos = 8
occlusion_photos = 2
"""


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    path = tmp_path_factory.mktemp("problem") / "drawn.toml"
    path.write_text(TEXT)
    return problems.load(path)


@pytest.fixture(scope="module")
def dataset(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return split_of(problem, tmp_path_factory.mktemp("store"))


def split_of(problem: Problem, store: Path) -> Dataset:
    found = collect.collect(problem, store).path
    return split.split(curate.curate(found, problem, store).path, problem, store)


@pytest.fixture(scope="module")
def pretrained(problem: Problem, dataset: Dataset) -> Pretrained:
    return weights.pretrained(problem, dataset.store)


@pytest.fixture(scope="module")
def trained(problem: Problem, dataset: Dataset, pretrained: Pretrained) -> train.Trained:
    return train.train(dataset, recipes.plan(problem, [pretrained], 0), [pretrained], "key")


def test_a_trained_recipe_is_found_again_and_not_trained_twice(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, trained: train.Trained
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nothing is left to do")

    again = train.train(dataset, trained.recipe, [pretrained], "key", never)
    assert again.story == trained.story


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Bit rot in the middle of a file."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(255 - one for one in content[middle : middle + 8])
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [("training.json", cut), ("network.safetensors", cut), ("network.safetensors", flip)],
)
def test_a_damaged_training_is_done_again(
    dataset: Dataset,
    pretrained: Pretrained,
    trained: train.Trained,
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: Callable[[Path], None],
) -> None:
    before = train.train(dataset, trained.recipe, [pretrained], "rotten")
    whole = before.network().head.weight
    damage(before.folder / name)
    again = train.train(dataset, trained.recipe, [pretrained], "rotten")
    assert torch.equal(again.network().head.weight, whole)
    assert f"{before.folder / name}: is not as it was written" in caplog.text


def test_features_are_computed_once_per_photo_view_and_graph(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, trained: train.Trained
) -> None:
    [folder] = (dataset.store / "features").iterdir()
    parts = sorted(folder.iterdir())
    train.train(dataset, recipes.plan(problem, [pretrained], 1), [pretrained], "another seed")
    assert sorted(folder.iterdir()) == parts


def test_another_seed_is_another_recipe(problem: Problem, dataset: Dataset, pretrained: Pretrained) -> None:
    code = provenance.code_version()
    keys = {recipes.plan(problem, [pretrained], seed).key(dataset, code) for seed in (0, 1)}
    assert len(keys) == 2


def test_costs_are_no_part_of_a_recipe(problem: Problem, pretrained: Pretrained) -> None:
    dear = problem.model_copy(update={"cost": sections.Cost(ask=0.01)})
    assert recipes.plan(dear, [pretrained], 0) == recipes.plan(problem, [pretrained], 0)


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


def test_int8_is_admitted_by_groups_of_photos_that_are_right_or_wrong_together(
    problem: Problem,
    dataset: Dataset,
    trained: train.Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patient = problem.model_copy(update={"gate": sections.Gate(margin=0.5)})
    ready = {}
    for name in ("photos", "one group"):
        found = candidate.export(trained, dataset, patient, tmp_path / name)
        ready[name] = variants.calibrate(found, dataset, patient, lambda *_: None)["int8"]
        monkeypatch.setattr(Dataset, "groups", lambda self, side: np.full(len(self.photos(side)), "one"))
    assert ready["photos"].admitted
    assert "more than the margin" in str(ready["one group"].reason)


def test_a_killed_run_goes_on_from_its_last_finished_stage(
    problem: Problem,
    dataset: Dataset,
    trained: train.Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stages() -> tuple[candidate.Candidate, Mapping[Precision, variants.Judged]]:
        made = candidate.export(trained, dataset, problem, tmp_path / "run")
        ready = variants.calibrate(made, dataset, problem, lambda *_: None)
        assert ready["float32"].temperature == temperatures[0]
        return made, variants.judge(made, ready, dataset, problem, lambda *_: None)

    temperatures: list[float] = []

    def fit(*given: Any) -> float:
        if len(temperatures) == 1:
            temperatures.append(0.0)
            raise KeyboardInterrupt
        temperatures.append(fit_temperature(*given))
        return temperatures[-1]

    monkeypatch.setattr(variants, "fit_temperature", fit)
    with pytest.raises(KeyboardInterrupt):  # float32 is calibrated by then, int8 is not
        stages()
    found, first = stages()
    files = {path.name: path.stat().st_mtime_ns for path in found.folder.iterdir()}
    for module, name in ((graphs, "save"), (variants, "answers"), (variants, "robustness")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("done again"))
    again, second = stages()
    assert again == found
    assert {path.name: path.stat().st_mtime_ns for path in found.folder.iterdir()} == files
    assert second["float32"].metrics() == first["float32"].metrics()
    found.model("int8").write_bytes(b"damaged")
    assert candidate.calibrated(tmp_path / "run") is None


def test_another_cost_matrix_changes_labels_and_questions_but_no_probability_of_the_file(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, tmp_path: Path
) -> None:
    quick = sections.Evaluate(robustness_photos=0, occlusion_photos=0)
    even = problem.model_copy(update={"evaluate": quick})
    dear = even.model_copy(update={"cost": sections.Cost(ask=50, mistake={"dog": {"cat": 1e6}})})
    told = []
    for name, one in (("even", even), ("dear", dear)):
        recipe = recipes.plan(one, [pretrained], 0)
        trained = train.train(dataset, recipe, [pretrained], f"costs-{name}")
        found = candidate.export(trained, dataset, one, tmp_path / name)
        ready = variants.calibrate(found, dataset, one, lambda *_: None)
        told.append(variants.judge(found, ready, dataset, one, lambda *_: None)["float32"].answers())
    assert np.array_equal(told[0].probabilities, told[1].probabilities)
    decided = [answers.decide(one.costs) for answers, one in zip(told, (even, dear), strict=True)]
    assert decided[0].label.tolist() != decided[1].label.tolist()


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


def pinned(problem: Problem, pretrained: Pretrained, epochs: int) -> recipes.Recipe:
    """A recipe of one fine-tuned candidate that no clock decides."""
    plain = recipes.plan(problem, [pretrained], 0)
    return replace(
        plain, trials=plain.trials[:1], fine_tune="always", pinned=recipes.Pinned(epochs, "float32")
    )


def test_the_best_on_validation_photos_is_kept(
    problem: Problem, dataset: Dataset, pretrained: Pretrained
) -> None:
    tuned = train.train(dataset, pinned(problem, pretrained, 2), [pretrained], "tuned")
    candidates = tuned.story["candidates"]
    assert {one["name"] for one in candidates} == {"frozen", "fine-tuned"}
    losses = [one["validation_log_loss"] for one in candidates]
    assert losses == sorted(losses)
    assert len(tuned.story["curve"]["train_loss"]) == 2
    assert (tuned.folder / "network.safetensors").exists()
    assert list(tuned.folder.glob("*.pt")) == []


def test_a_killed_training_goes_on_from_its_last_epoch(
    problem: Problem, dataset: Dataset, pretrained: Pretrained
) -> None:
    recipe = pinned(problem, pretrained, 3)
    whole = train.train(dataset, recipe, [pretrained], "whole")
    seen: list[int] = []

    def killed(stage: str, done: int, total: int) -> None:
        if stage.startswith("fine-tuning"):
            seen.append(done)
            if len(seen) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train(dataset, recipe, [pretrained], "killed", killed)
    resumed = train.train(dataset, recipe, [pretrained], "killed", killed)
    assert seen == [1, 2, 3]
    files = [(one.folder / weights.NETWORK_FILE).read_bytes() for one in (whole, resumed)]
    assert files[0] == files[1]


def train_until_killed(store: Path, problem: Problem) -> None:
    """Fine-tune for an epoch, and wait for the end that comes."""

    def wait(stage: str, *_: int) -> None:
        if stage.startswith("fine-tuning"):
            time.sleep(300)

    own = weights.pretrained(problem, store)
    train.train(split_of(problem, store), pinned(problem, own, 3), [own], "sigkill", wait)


def test_a_damaged_checkpoint_is_begun_anew(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = pinned(problem, pretrained, 1)
    left = racer.checkpoint(dataset.store / "trained" / "rotten checkpoint", recipe, recipe.trials[0])
    left.parent.mkdir()
    left.write_bytes(b"half a")
    story = train.train(dataset, recipe, [pretrained], left.parent.name).story
    assert len(story["curve"]["train_loss"]) == 1
    assert f"{left}: is not as it was written" in caplog.text


def test_a_training_killed_by_sigkill_goes_on_from_its_last_checkpoint(
    problem: Problem, dataset: Dataset, pretrained: Pretrained
) -> None:
    folder = dataset.store / "trained" / "sigkill"
    child = multiprocessing.get_context("spawn").Process(
        target=train_until_killed, args=(dataset.store, problem)
    )
    child.start()
    until(lambda: (folder / "trial-0.pt").exists() or not child.is_alive(), 120)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    done = torch.load(folder / "trial-0.pt", weights_only=True)["curve"]
    assert not (folder / "training.json").exists()
    recipe = pinned(problem, pretrained, 3)
    resumed = train.train(dataset, recipe, [pretrained], "sigkill")
    curve = resumed.story["curve"]
    assert {name: values[:1] for name, values in curve.items()} == done
    whole = train.train(dataset, recipe, [pretrained], "not killed")
    files = [(one.folder / weights.NETWORK_FILE).read_bytes() for one in (whole, resumed)]
    assert files[0] == files[1]


def test_a_night_tries_every_size_and_rate_and_says_what_had_to_wait(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = problem.model_copy(
        update={
            "train": sections.Train(
                crop_modes=("center",),
                fine_tune="always",
                image_sizes=(64, 96),
                rates=(4e-4, 1e-4),
                views=0,
                budget_s=600,
            )
        }
    )
    recipe = recipes.plan(several, [pretrained], 0)
    assert [net.image_size for net in recipe.nets] == [128, 64, 96]
    assert len(recipe.trials) == 6
    monkeypatch.setattr(features, "_PART_ROWS", 16)
    hurried = replace(recipe, fine_tune="auto", budget_s=0.01)
    story = train.train(dataset, hurried, [pretrained], "hurried").story
    assert [one["image_size"] for one in story["candidates"]] == [128]
    assert (
        "efficientnet_lite0 at 64 waits for a training with other photos or a larger [train] budget_s"
        in story["note"]
    )
    rested = replace(hurried, fine_tune="never", budget_s=600)
    story = train.train(dataset, rested, [pretrained], "rested").story
    assert {one["image_size"] for one in story["candidates"]} == {128, 64, 96}


def test_each_networks_head_says_how_photos_are_cut_and_only_that_way_is_fine_tuned(
    problem: Problem, dataset: Dataset, pretrained: Pretrained
) -> None:
    both = sections.Train(fine_tune="always", rates=(4e-4,), views=0, budget_s=600)
    small = problem.model.model_copy(update={"image_size": 64})
    recipe = recipes.plan(problem.model_copy(update={"train": both, "model": small}), [pretrained], 0)
    assert [net.crop_mode for net in recipe.nets] == ["center", "squash"]
    assert not inputs.Inputs(dataset, recipe, lambda *_: None).are_square
    story = train.train(dataset, replace(recipe, budget_s=60), [pretrained], "cuts").story
    heads = {one["crop_mode"]: one for one in story["candidates"] if one["name"] == "frozen"}
    tuned = [one["crop_mode"] for one in story["candidates"] if one["name"] == "fine-tuned"]
    assert heads.keys() == {"center", "squash"}
    assert tuned == [min(heads, key=lambda mode: heads[mode]["validation_log_loss"])]


def test_square_photos_are_cut_in_one_way(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs.Inputs, "are_square", True)
    recipe = recipes.plan(problem.model_copy(update={"train": sections.Train()}), [pretrained], 0)
    only_heads = replace(recipe, fine_tune="never", views=0)
    story = train.train(dataset, only_heads, [pretrained], "square").story
    assert [one["crop_mode"] for one in story["candidates"]] == ["center"]


def test_of_features_that_the_time_did_not_suffice_for_those_done_are_kept(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = replace(recipes.plan(problem, [pretrained], 0).nets[0], image_size=160)
    graph = extractors.frozen_extractor(net, net.network(pretrained, 2, 0), "embedding", dataset.store)
    wanted = [features.Wanted(photo, 0) for photo in dataset.photos("train")]
    clock = itertools.count()
    monkeypatch.setattr(features.time, "monotonic", lambda: next(clock))
    with pytest.raises(features.UnfinishedError, match=r"after (8|16|24) of"):
        features.features(graph, dataset, wanted, until=2.0)
    monkeypatch.undo()
    asked: list[int] = []
    features.features(graph, dataset, wanted, lambda _, total: asked.append(total))
    assert len(wanted) - 24 <= asked[0] <= len(wanted) - 8


@pytest.mark.parametrize("damage", [cut, flip])
def test_a_damaged_part_or_graph_of_the_feature_store_is_made_anew(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, damage: Callable[[Path], None]
) -> None:
    net = replace(recipes.plan(problem, [pretrained], 0).nets[0], image_size=192)
    network = net.network(pretrained, 2, 0)
    wanted = [features.Wanted(photo, 0) for photo in dataset.photos("test")]

    def made() -> NDArray[np.float16]:
        graph = extractors.frozen_extractor(net, network, "embedding", dataset.store)
        return features.features(graph, dataset, wanted)

    whole = made()
    key = extractors.frozen_extractor(net, network, "embedding", dataset.store).key
    [part] = (dataset.store / "features" / key).iterdir()
    damage(part)
    graph = dataset.store / "extractors" / f"{key}.onnx"
    graph.write_bytes(graph.read_bytes()[:-20])
    with pytest.raises(TrainingError, match="It is removed now; run again"):
        made()
    assert np.array_equal(made(), whole)


def test_another_decoder_or_library_makes_other_features(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = recipes.plan(problem, [pretrained], 0).nets[0]
    network = net.network(pretrained, 2, 0)
    before = extractors.frozen_extractor(net, network, "embedding", dataset.store).key
    monkeypatch.setattr(extractors, "view_version", lambda: "of another Pillow")
    assert extractors.frozen_extractor(net, network, "embedding", dataset.store).key != before


def test_a_candidate_without_time_leaves_the_others_going_and_is_named(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(racer, "_MOST_EPOCHS", 3)
    monkeypatch.setattr(contest, "measured_pace", lambda *_: ("float32", 1.0))
    go_on = racer.Racer.go_on

    def late(self: racer.Racer, until: float) -> bool:
        return self.trial.net.image_size == 64 and go_on(self, until)

    monkeypatch.setattr(racer.Racer, "go_on", late)
    two = sections.Train(
        crop_modes=("center",), fine_tune="always", image_sizes=(96,), rates=(4e-4,), views=0, budget_s=600
    )
    small = problem.model.model_copy(update={"image_size": 64})
    recipe = recipes.plan(problem.model_copy(update={"train": two, "model": small}), [pretrained], 0)
    story = train.train(dataset, recipe, [pretrained], "one is late").story
    tuned = [one for one in story["candidates"] if one["name"] == "fine-tuned"]
    assert [(one["image_size"], one["epochs"]) for one in tuned] == [(64, 3)]
    assert "at 96" in story["note"]
    assert "found no time for an epoch" in story["note"]


def test_a_candidate_that_diverges_leaves_the_others_going_and_is_named(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(racer, "_MOST_EPOCHS", 2)
    monkeypatch.setattr(contest, "measured_pace", lambda *_: ("float32", 0.1))

    def asked(fine_tune: Literal["always", "auto"]) -> sections.Train:
        return sections.Train(
            crop_modes=("center",), fine_tune=fine_tune, rates=(4e-4, 1e-4), views=0, budget_s=600
        )

    small = problem.model.model_copy(update={"image_size": 64})
    always = problem.model_copy(update={"train": asked("always"), "model": small})
    recipe = recipes.plan(always, [pretrained], 0)
    epoch = finetune.FineTuning.epoch

    def wild(self: finetune.FineTuning, *given: finetune.Activations) -> None:
        if self.tuning.rate in diverging:
            raise finetune.DivergedError("the loss is not a number")
        epoch(self, *given)

    monkeypatch.setattr(finetune.FineTuning, "epoch", wild)
    diverging = {4e-4}
    story = train.train(dataset, recipe, [pretrained], "one diverges").story
    assert [one["tuning"]["rate"] for one in story["candidates"] if one["tuning"]] == [1e-4]
    assert "the loss is not a number" in story["note"]
    assert "no time" not in story["note"]
    diverging |= {1e-4}
    with pytest.raises(finetune.DivergedError):
        train.train(dataset, recipe, [pretrained], "all diverge")
    monkeypatch.setattr(contest, "_GOOD_ENOUGH", 2.0)
    may = recipes.plan(problem.model_copy(update={"train": asked("auto"), "model": small}), [pretrained], 0)
    story = train.train(dataset, may, [pretrained], "all diverge that may").story
    assert [one["name"] for one in story["candidates"]] == ["frozen"]
    assert "the loss is not a number" in story["note"]


def test_candidates_race_in_the_time_that_their_own_size_wants(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(racer, "_MOST_EPOCHS", 2)
    monkeypatch.setattr(contest, "measured_pace", lambda *_: ("float32", 20.0))
    sizes = sections.Train(
        crop_modes=("center",), fine_tune="always", image_sizes=(128,), rates=(4e-4,), views=0, budget_s=200
    )
    small = problem.model.model_copy(update={"image_size": 64})
    recipe = recipes.plan(problem.model_copy(update={"train": sizes, "model": small}), [pretrained], 0)
    race = contest.Contest(dataset, recipe, [pretrained], dataset.store, lambda *_: None)
    entries = [race.frozen(net) for net in recipe.nets]
    starts = sorted(entries, key=lambda entry: entry.validation_log_loss)
    pace = racer.Pace("float32", 20.0, 10)
    order = [next(trial for trial in recipe.trials if trial.net == entry.net) for entry in starts]
    cheap_first = sorted(order, key=lambda trial: trial.net.cost)
    assert race._admitted(cheap_first, pace, time.monotonic() + 200) == cheap_first[:1]  # 60 s and 240 s
    assert race._admitted(cheap_first, pace, time.monotonic() + 400) == cheap_first


@pytest.mark.parametrize("asked", ["auto", "always"])
def test_what_a_killed_run_learnt_is_gone_on_with_on_a_machine_that_is_slower_now(
    problem: Problem,
    dataset: Dataset,
    pretrained: Pretrained,
    monkeypatch: pytest.MonkeyPatch,
    asked: Literal["auto", "always"],
) -> None:
    monkeypatch.setattr(racer, "_MOST_EPOCHS", 2)
    monkeypatch.setattr(contest, "_GOOD_ENOUGH", 1.1)
    own = sections.Train(crop_modes=("center",), fine_tune=asked, rates=(4e-4,), views=0, budget_s=600)
    recipe = recipes.plan(problem.model_copy(update={"train": own}), [pretrained], 0)

    def killed(stage: str, *_: int) -> None:
        if stage.startswith("fine-tuning"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train(dataset, recipe, [pretrained], f"slower {asked}", killed)
    monkeypatch.setattr(contest, "measured_pace", lambda *_: ("float32", 1e6))
    story = train.train(dataset, recipe, [pretrained], f"slower {asked}").story
    assert [one["epochs"] for one in story["candidates"] if one["name"] == "fine-tuned"] == [2]


def test_a_version_without_test_photos_is_told_before_anything_is_trained(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = Dataset.photos
    monkeypatch.setattr(Dataset, "photos", lambda self, side: [] if side == "test" else photos(self, side))
    with pytest.raises(TrainingError, match="no test photos"):
        train.train(dataset, recipes.plan(problem, [pretrained], 0), [pretrained], "untested")


def test_the_worse_half_stops_after_each_round_also_when_the_race_is_killed_in_one(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(racer, "_MOST_EPOCHS", 4)
    monkeypatch.setattr(contest, "measured_pace", lambda *_: ("float32", 0.1))
    four = sections.Train(
        crop_modes=("center",), fine_tune="always", rates=(4e-4, 2e-4, 1e-4, 5e-5), views=0, budget_s=600
    )
    small = problem.model.model_copy(update={"image_size": 64})
    recipe = recipes.plan(problem.model_copy(update={"train": four, "model": small}), [pretrained], 0)
    epochs: list[str] = []

    def killed(stage: str, *_: int) -> None:
        if stage.startswith("fine-tuning"):
            epochs.append(stage)
            if len(epochs) == 5:  # one of the two that are left has its second
                raise KeyboardInterrupt

    whole = train.train(dataset, recipe, [pretrained], "whole race")
    with pytest.raises(KeyboardInterrupt):
        train.train(dataset, recipe, [pretrained], "killed race", killed)
    resumed = train.train(dataset, recipe, [pretrained], "killed race", killed)
    ran = [[len(one["curve"]["train_loss"]) for one in race.story["candidates"]] for race in (whole, resumed)]
    assert ran[0] == ran[1]
    assert sorted(ran[0]) == [0, 1, 1, 2, 4]
    assert len(epochs) == 8
    files = [(one.folder / weights.NETWORK_FILE).read_bytes() for one in (whole, resumed)]
    assert files[0] == files[1]


def test_the_bank_knows_some_photos_of_each_class() -> None:
    many = [SimpleNamespace(id=f"{n:03d}", label="cat" if n < 600 else "fox") for n in range(603)]
    chosen = variants._of_each_class(many, 500)  # type: ignore[arg-type]  # it looks at labels alone
    assert Counter(one.label for one in chosen) == {"cat": 497, "fox": 3}
    assert chosen[0].id == "000"


def test_what_a_search_found_is_tried_before_the_problems_other_candidates(
    problem: Problem, dataset: Dataset, pretrained: Pretrained
) -> None:
    own = recipes.plan(problem, [pretrained], 0).trials
    better = trials.Trial(replace(own[0].net, image_size=96), finetune.Tuning(rate=3e-4, decay=0.8))
    foreign = replace(better, net=replace(better.net, weights_sha256="other weights"))
    trials.write_found(dataset.store, "drawn", [better, foreign])
    found = trials.read_found(dataset.store, "drawn")
    assert found == (better, foreign)
    assert recipes.plan(problem, [pretrained], 0, found).trials == (own[0], better, *own[1:])
    tuned = replace(better, net=own[0].net)  # by this a budget for one candidate takes it
    assert recipes.plan(problem, [pretrained], 0, [tuned]).trials == (tuned, *own)
    assert trials.read_found(dataset.store, "another problem") == ()


@pytest.mark.parametrize("content", ["[{", '[{"net": {}}]'])
def test_finds_that_are_damaged_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    path = trials.write_found(tmp_path, "drawn", [])
    path.write_text(content)
    assert trials.read_found(tmp_path, "drawn") == ()
    assert f"{path}: is not as it was written" in caplog.text
    assert "`pawloop tune` makes it again" in caplog.text


def test_photos_that_memory_cannot_hold_are_told(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_MOST_ACTIVATION_BYTES", 200_000)
    story = train.train(dataset, pinned(problem, pretrained, 1), [pretrained], "cut").story
    assert "train photos, all that memory holds" in story["note"]


def test_an_epoch_is_timed_for_the_photos_that_memory_holds(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = pinned(problem, pretrained, 1)
    own = inputs.Inputs(dataset, recipe, lambda *_: None)
    net = recipe.nets[0]
    network = net.network(pretrained, 2, 0)
    assert own.counts(net, network) == (len(own.photos("train")), len(own.photos("validation")))
    monkeypatch.setattr(inputs, "_MOST_ACTIVATION_BYTES", 200_000)
    looked_at = [len(own.activations(net, network, side, 0).labels) for side in ("train", "validation")]
    assert own.counts(net, network) == tuple(looked_at)
    assert looked_at[0] < len(own.photos("train"))


def test_other_networks_heads_leave_time_for_fine_tuning(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = sections.Train(
        crop_modes=("center",), fine_tune="always", image_sizes=(96,), rates=(4e-4,), views=0, budget_s=600
    )
    recipe = recipes.plan(problem.model_copy(update={"train": own}), [pretrained], 0)
    known = contest.Contest(dataset, recipe, [pretrained], dataset.store, lambda *_: None)
    known.prepare()
    del known.heads[recipe.nets[1]]

    def slow(*_: object, on_fit: Callable[[int, int], None]) -> list[head.Tried]:
        time.sleep(0.5)
        on_fit(1, 6)
        return pytest.fail("its heads went on")

    monkeypatch.setattr(head, "path", slow)
    monkeypatch.setattr(contest, "_HEADS_SHARE", 0.4 / 60)
    hurried = replace(recipe, budget_s=60)
    race = contest.Contest(dataset, hurried, [pretrained], dataset.store, lambda *_: None, heads=known.heads)
    entries = race.run()
    assert {entry.net.image_size for entry in entries} == {128}
    assert any(entry.tuning for entry in entries)
    (note,) = [one for one in race.notes if "96" in one]
    assert "the time was out after 1 of its 6 heads" in note


def test_other_networks_heads_are_granted_no_time_of_the_first_epoch(
    problem: Problem,
    dataset: Dataset,
    pretrained: Pretrained,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(racer, "_MOST_EPOCHS", 1)
    monkeypatch.setattr(contest, "measured_pace", lambda *_: ("float32", 560.0))
    sizes = sections.Train(
        crop_modes=("center",),
        fine_tune="always",
        image_sizes=(96, 160),
        rates=(4e-4,),
        views=0,
        budget_s=600,
    )
    recipe = recipes.plan(problem.model_copy(update={"train": sizes}), [pretrained], 0)
    race = contest.Contest(dataset, recipe, [pretrained], tmp_path, lambda *_: None)
    race.frozen(recipe.nets[0])
    granted: dict[int, float] = {}

    def late(_: contest.Contest, net: extractors.Net, network: object, until: float) -> None:
        granted[net.image_size] = until - time.monotonic()
        raise features.UnfinishedError("too many photos")

    monkeypatch.setattr(contest.Contest, "_fitted", late)
    assert any(entry.tuning for entry in race.run())
    assert list(granted) == [96]  # an epoch at 160 takes longer than there is
    assert granted[96] < 600 - 560
    assert any("at 160 waits" in note for note in race.notes)


def test_a_budget_of_which_little_is_left_says_so(
    problem: Problem,
    dataset: Dataset,
    pretrained: Pretrained,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    recipe = replace(recipes.plan(problem, [pretrained], 0), fine_tune="always", budget_s=600)
    race = contest.Contest(dataset, recipe, [pretrained], tmp_path, lambda *_: None)
    monkeypatch.setattr(contest, "measured_pace", lambda *_: ("float32", 30.0))
    with pytest.raises(contest.BudgetError, match=r"about 30 s here and 12 s of it are left"):
        race.tuned([race.frozen(recipe.nets[0])], time.monotonic() + 12.01)


def test_a_budget_too_short_for_an_epoch_is_told_before_time_is_spent(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest.Contest, "frozen", lambda *_: pytest.fail("features were computed"))
    recipe = replace(recipes.plan(problem, [pretrained], 0), fine_tune="always", budget_s=0.001)
    with pytest.raises(contest.BudgetError, match="too short for fine-tuning"):
        train.train(dataset, recipe, [pretrained], "short")
    assert not (dataset.store / "trained" / "short" / "training.json").exists()


def test_time_that_is_out_before_the_first_epoch_is_told(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(racer.Racer, "go_on", lambda *_: False)  # another process took the cores, say
    plain = replace(recipes.plan(problem, [pretrained], 0), budget_s=600.0)
    monkeypatch.setattr(contest, "_GOOD_ENOUGH", 2.0)
    story = train.train(dataset, replace(plain, fine_tune="auto"), [pretrained], "no time").story
    assert "too short for fine-tuning" in story["note"]
    with pytest.raises(contest.BudgetError, match="too short for fine-tuning"):
        train.train(dataset, replace(plain, fine_tune="always"), [pretrained], "no time at all")


def test_weights_that_are_no_numbers_promote_nothing(
    problem: Problem, dataset: Dataset, pretrained: Pretrained
) -> None:
    broken = replace(
        pretrained,
        blocks={k: v * float("nan") for k, v in pretrained.blocks.items()},
        sha256="broken",
    )
    recipe = recipes.plan(problem, [broken], 0)
    with pytest.raises(TrainingError, match=r"not numbers|not a number"):
        train.train(dataset, recipe, [broken], "broken")


def test_exploring_and_training_share_their_embeddings(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, trained: train.Trained
) -> None:
    folder = dataset.store / "features"
    embeddings = extractors.embeddings(dataset, trained.net, pretrained)
    parts = sorted(folder.rglob("*.parquet"))

    train.train(dataset, recipes.plan(problem, [pretrained], 2), [pretrained], "after exploring")

    assert embeddings is not None
    assert len(embeddings) == dataset.kept(["id"]).num_rows
    assert sorted(folder.rglob("*.parquet")) == parts


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_recorded_recipe_replayed_gives_the_same_graph_bit_for_bit(
    problem: Problem, dataset: Dataset, pretrained: Pretrained, tmp_path: Path, epochs: int
) -> None:
    first = recipes.plan(problem, [pretrained], 5)
    if epochs:
        first = replace(pinned(problem, pretrained, epochs), seed=5)
    made = train.train(dataset, first, [pretrained], f"made-{epochs}")
    card = json.loads(json.dumps(asdict(first) | {"training": made.story}))
    again = train.train(dataset, recipes.replayed(card), [pretrained], f"again-{epochs}")
    graphs = [
        candidate.export(one, dataset, problem, tmp_path / str(n) / "run").model("float32").read_bytes()
        for n, one in enumerate((made, again))
    ]
    assert graphs[0] == graphs[1]
