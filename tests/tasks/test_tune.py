"""A search on drawn photos: what it leaves, how it goes on, what it tells."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from pawloop.errors import TrainingError
from pawloop.problem import Problem
from pawloop.sections import Data, Model, Train, Tune
from tasks import contest, experiments, gain, head, inputs, racer, recipe, trials, tune, tune_report, weights
from tasks.entry import Entry
from tasks.manifest import Dataset
from tests.tasks import albums


@pytest.fixture(scope="module")
def problem() -> Problem:
    space = Tune(trials=4, trial_s=40.0, budget_s=240, backbones=(), image_sizes=(96,), keep=1)
    return Problem(
        name="drawn",
        classes=("cat", "dog"),
        data=Data(sources=("sample://pets?count=100&seed=2",)),
        model=Model(backbone="efficientnet_lite0", image_size=64),
        train=Train(views=0),
        tune=space,
    )


@pytest.fixture(scope="module")
def dataset(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return albums.made(problem, tmp_path_factory.mktemp("searched"))


@pytest.fixture(scope="module")
def search(problem: Problem, dataset: Dataset) -> tune.Search:
    own = weights.pretrained_all(problem, dataset.store)
    found = tune.open_search(dataset, problem, own, 0)
    tune.search(found, lambda *_: None)
    return found


def test_a_search_tries_the_candidate_before_first_and_leaves_the_best(search: tune.Search) -> None:
    first = search.study.get_trials()[0]
    assert search.trial(first.params) == tune.before(search.dataset, search.problem, search.weights)
    [best] = tune.best(search)
    tune.leave(search, best)
    assert best == search.trial(search.study.best_params)
    next_night = recipe.plan(
        search.problem, search.weights, 0, trials.read_found(search.dataset.store, search.problem.name)
    )
    assert best in next_night.trials[:2]


def test_a_search_fits_the_heads_of_a_network_once(
    problem: Problem, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, fitted, path = weights.pretrained_all(problem, dataset.store), list[object](), head.path

    def counted(*given: Any, **named: Any) -> list[head.Tried]:  # Any: as `path` takes them
        fitted.append(given)
        return path(*given, **named)

    monkeypatch.setattr(head, "path", counted)
    found = tune.open_search(dataset, problem.model_copy(update={"name": "heads"}), own, 0)
    tune.search(found, lambda *_: None)
    assert len(fitted) == len(found.heads)


def test_every_trial_is_an_experiment_with_its_curve(search: tune.Search) -> None:
    rows = experiments.experiments(search.dataset.store, search.problem.name)
    states = [one.state for one in search.study.get_trials()]
    outcomes = [one.outcome for one in rows]
    assert outcomes.count("searched") == states.count(TrialState.COMPLETE)
    assert outcomes.count("pruned") == states.count(TrialState.PRUNED)
    assert outcomes.count("failed") == states.count(TrialState.FAIL) == 0
    assert all(len(one.validation_losses) == one.epochs > 0 for one in rows)
    assert all(one.rate and one.decay and one.smoothing is not None for one in rows)


def test_a_killed_search_goes_on_where_it_stopped(search: tune.Search) -> None:
    search.study.enqueue_trial({"network": "efficientnet_lite0 at 64", "rate": 1e-4})
    left = search.study.ask()
    left.suggest_float("rate", *search.problem.tune.rate, log=True)
    again = tune.open_search(search.dataset, search.problem, search.weights, 0)
    states = [one.state for one in again.study.get_trials()]
    assert states[left.number] == TrialState.FAIL
    assert states[-1] == TrialState.WAITING
    assert again.study.get_trials()[-1].system_attrs["fixed_params"]["rate"] == pytest.approx(1e-4)
    before = len(again.study.get_trials())
    tune.search(again, lambda *_: None)  # all of its trials were done
    assert len(again.study.get_trials()) == before


def test_what_was_gained_is_told_with_its_interval(search: tune.Search) -> None:
    before = tune.before(search.dataset, search.problem, search.weights)
    assert gain.told(search, before, before, lambda *_: None).line.startswith("Nothing better")
    found = search.trial(search.done[-1].params)
    gained = gain.gain(search, (before, found), lambda *_: None)
    assert gained.low <= gained.difference <= gained.high
    page = tune_report.tune_report(search, gained.summary)
    assert gained.summary in page
    for heading in ("## History", "## Importance", "## Parallel coordinates"):
        assert heading in page
    assert len(page) <= 200_000


def test_what_was_gained_counts_photos_of_a_group_as_one(
    search: tune.Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tune.before(search.dataset, search.problem, search.weights)
    pair = (before, search.trial(search.done[-1].params))
    alone = gain.gain(search, pair, lambda *_: None)
    monkeypatch.setattr(Dataset, "groups", lambda self, side: np.full(len(self.photos(side)), "one"))
    together = gain.gain(search, pair, lambda *_: None)
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_trial_keeps_to_what_is_left_of_the_searchs_budget(search: tune.Search, tmp_path: Path) -> None:
    sought = search.recipe(search.trial(search.done[-1].params), 600.0)
    known = (search.dataset, sought, search.weights, tmp_path)
    race = contest.Contest(*known, lambda *_: None, heads=search.heads)
    race.prepare()
    race.deadline = time.monotonic()
    with pytest.raises(contest.BudgetError):
        race.run()


def test_networks_of_which_memory_holds_fewer_photos_are_compared_on_the_same_ones(
    search: tune.Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_MOST_ACTIVATION_BYTES", 60 * 1024)
    before = tune.before(search.dataset, search.problem, search.weights)
    larger = replace(before, net=replace(before.net, image_size=96))
    gained = gain.gain(search, (before, larger), lambda *_: None)
    assert 2 < gained.photos < len(search.dataset.photos("test"))


def test_a_candidate_before_that_cannot_be_trained_is_told_and_what_was_found_is_left(
    search: tune.Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*_: object) -> None:
        raise TrainingError("fine-tuning diverged")

    [found] = tune.best(search)
    before = replace(found, tuning=replace(found.tuning, rate=found.tuning.rate / 2))
    monkeypatch.setattr(gain, "gain", diverges)
    told = gain.told(search, before, found, lambda *_: None)
    assert told.first == found
    line = told.line
    assert line.startswith(f"{found.name}. Not compared with the candidate before")
    assert line.endswith("fine-tuning diverged")


def test_a_find_that_costs_more_on_test_photos_is_told_and_the_one_before_stays_first(
    search: tune.Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    [found] = tune.best(search)
    before = replace(found, tuning=replace(found.tuning, rate=found.tuning.rate / 2))
    monkeypatch.setattr(gain, "gain", lambda *_: gain.Gain(0.02, -0.01, 0.05, (0.9, 0.88), 50))
    assert gain.told(search, before, found, lambda *_: None).first == found  # chance alone may do that
    monkeypatch.setattr(gain, "gain", lambda *_: gain.Gain(0.05, 0.01, 0.09, (0.9, 0.85), 50))
    told = gain.told(search, before, found, lambda *_: None)
    assert f"{found.name}, the best on validation photos, is left out" in told.line
    assert f"stays: {before.name}" in told.line
    more = search.problem.tune.model_copy(update={"keep": 8})
    wider = replace(search, problem=search.problem.model_copy(update={"tune": more}))
    assert found in tune.best(wider)
    left = tune.leave(wider, told.first)
    assert left[0] == before
    assert found not in left
    assert trials.read_found(search.dataset.store, search.problem.name) == tuple(left)


def test_a_search_whose_trials_were_all_done_says_so_and_what_it_had_found(
    search: tune.Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    [found] = tune.best(search)
    before = replace(found, tuning=replace(found.tuning, rate=found.tuning.rate / 2))
    monkeypatch.setattr(gain, "gain", lambda *_: gain.Gain(-0.02, -0.05, 0.01, (0.88, 0.9), 50))
    news = gain.told(search, before, found, lambda *_: None)
    again = tune.open_search(search.dataset, search.problem, search.weights, 0)
    for _ in range(2):  # and the second time, too, it is the news that is told again
        told = gain.told(again, news.first, found, lambda *_: None)
        assert told.line.startswith(f"All {search.ended} trials of this search were done before")
        assert "raise [tune] trials, or take another seed" in told.line
        assert told.line.endswith(f"What it said then: {news.line}")
        assert told.first == found
    assert gain.told(again, before, found, lambda *_: None) == news  # another search's find came between
    (search.folder / "told.json").unlink()  # as of older searches
    assert gain.told(again, found, found, lambda *_: None).line.endswith(f"Its best is {found.name}")


def test_fine_tuned_networks_are_compared_where_the_frozen_head_is_as_good(
    search: tune.Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, answered = contest.Contest.run, gain._answered
    compared: list[Entry] = []

    def frozen_first(self: contest.Contest) -> list[Entry]:
        return sorted(run(self), key=lambda one: one.tuning is not None)

    def noted(race: contest.Contest, entry: Entry) -> Any:  # Any: as `_answered` gives it
        compared.append(entry)
        return answered(race, entry)

    monkeypatch.setattr(racer, "_MOST_EPOCHS", 1)
    monkeypatch.setattr(contest.Contest, "run", frozen_first)
    monkeypatch.setattr(gain, "_answered", noted)
    before = tune.before(search.dataset, search.problem, search.weights)
    gain.gain(search, (before, before), lambda *_: None)
    assert [entry.tuning for entry in compared] == [before.tuning] * 2


def test_a_time_too_short_for_one_trial_is_told_before_features_are_prepared(
    problem: Problem, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest.Contest, "frozen", lambda *_: pytest.fail("features were prepared"))
    hurried = problem.model_copy(update={"tune": problem.tune.model_copy(update={"trial_s": 0.001})})
    own = weights.pretrained_all(hurried, dataset.store)
    found = tune.open_search(dataset, hurried, own, 0)
    with pytest.raises(TrainingError, match="no trial of the search came to its end"):
        tune.search(found, lambda *_: None)
    assert optuna.trial.TrialState.FAIL in [one.state for one in found.study.get_trials()]
    failed = [row for row in experiments.experiments(dataset.store, "drawn") if row.outcome == "failed"]
    assert failed
    assert all(row.rate and row.epochs == 0 and "too short" in row.error for row in failed)


def test_an_edited_search_space_is_another_study_and_begins_inside_it(search: tune.Search) -> None:
    tune.leave(search, tune.best(search)[0])
    own, edited = search.weights, search.problem.model_copy(update={"model": Model(image_size=128)})
    apart = tune.open_search(search.dataset, edited, own, 0)
    assert apart.folder != search.folder
    [first] = apart.study.get_trials()
    space = tune._networks(edited, own)
    assert first.system_attrs["fixed_params"].get("network", next(iter(space))) in space
    other = search.problem.model_copy(update={"train": Train(views=1)})
    assert tune.open_search(search.dataset, other, own, 0).folder != search.folder


def test_a_search_that_goes_on_tries_something_else(search: tune.Search) -> None:
    known = [one.params for one in search.study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))]
    again = tune.open_search(search.dataset, search.problem, search.weights, 0).study.ask()
    assert again.suggest_float("rate", *search.problem.tune.rate, log=True) not in [
        one["rate"] for one in known
    ]


def test_a_line_that_a_full_disk_cut_costs_a_search_that_line_alone(search: tune.Search) -> None:
    before = tune.open_search(search.dataset, search.problem, search.weights, 0)
    log, count = search.folder / "study.log", len(before.study.get_trials())
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"op_code": 4, "wor')
    again = tune.open_search(search.dataset, search.problem, search.weights, 0)
    assert len(again.study.get_trials()) == count
    log.write_bytes(whole + b'{"op_code": 4, "wor{"op_code": 4}\n')
    with pytest.raises(TrainingError, match=r"study\.log: cannot be read: .*; delete it"):
        tune.open_search(search.dataset, search.problem, search.weights, 0)
    log.write_bytes(whole)
