"""The gate, by worlds whose truth is known."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pawloop.card import Verdict
from pawloop.decision import Costs
from pawloop.sections import Gate
from tasks.answer import Answers
from tasks.bars import FileFacts
from tasks.evaluate import evaluate
from tasks.gate import Challenger, Rival, judge

CLASSES = ("cat", "dog")
COSTS = Costs(((0.0, 1.0), (1.0, 0.0)), ask=0.5)
# The simulations ask the evaluation for its accuracy alone; whole ones would make simulations slow.
SOME = evaluate(Answers.of(np.eye(2)), np.array([0, 1]), CLASSES, COSTS)
ASKED = Gate(minimum_accuracy=0.9, margin=0.02)


def model(labels: NDArray[np.int64], error: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Confident answers, of which a share is wrong."""
    wrong = rng.random(len(labels)) < error
    answered = np.where(wrong, 1 - labels, labels)
    return np.where(np.eye(2)[answered] > 0, 0.98, 0.02).astype(np.float32)


def night(count: int, mine: float, theirs: float, seed: int) -> Verdict:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    probabilities = model(labels, mine, rng)
    return verdict(probabilities, labels, [rival("champion (version 1)", model(labels, theirs, rng))])


def verdict(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    rivals: list[Rival],
    slices: dict[str, NDArray[np.bool_]] | None = None,
    asked: Gate = ASKED,
    parity: float = 0.0,
) -> Verdict:
    accuracy = float((probabilities.argmax(1) == labels).mean())
    evaluation = SOME.model_copy(update={"accuracy": accuracy, "photos": len(labels)})
    challenger = Challenger(Answers.of(probabilities), evaluation, FileFacts(parity, megabytes=10.0))
    return judge(challenger, labels, rivals, slices or {}, COSTS, asked)


def labelled(count: int = 400) -> NDArray[np.int64]:
    return np.arange(count) % 2


def test_a_first_model_has_only_the_absolute_bars_to_meet() -> None:
    labels = labelled()
    good = model(labels, 0.02, np.random.default_rng(0))
    assert verdict(good, labels, []).outcome == "promote"
    bad = model(labels, 0.3, np.random.default_rng(0))
    refused = verdict(bad, labels, [])
    assert refused.outcome == "refuse"
    assert "accuracy" in refused.summary


def test_a_file_that_differs_from_pytorch_is_refused() -> None:
    labels = labelled()
    good = model(labels, 0.0, np.random.default_rng(0))
    assert verdict(good, labels, [], parity=1e-3).outcome == "refuse"


def test_an_equal_challenger_on_enough_photos_is_promoted() -> None:
    labels = labelled()
    same = model(labels, 0.02, np.random.default_rng(0))
    rival = Rival("champion (version 1)", Answers.of(same), np.zeros(len(labels), np.bool_))
    assert verdict(same, labels, [rival]).outcome == "promote"


def test_photos_of_few_groups_cannot_tell_however_many_they_are() -> None:
    labels = labelled()
    same = model(labels, 0.0, np.random.default_rng(0))
    mine, champion = Challenger(Answers.of(same), SOME, FileFacts(0.0, 10.0)), rival("champion", same)
    told = judge(mine, labels, [champion], {}, COSTS, ASKED, np.arange(400) // 20)
    assert told.outcome == "cannot tell"
    assert any("(400 photos of 20 groups)" in bar.got for bar in told.bars)
    assert "6080 test photos would be enough" in told.summary  # 304 groups of 20


def test_too_few_photos_cannot_tell_and_say_how_many_would_do() -> None:
    labels = labelled(60)
    same = model(labels, 0.0, np.random.default_rng(0))
    rival = Rival("champion (version 1)", Answers.of(same), np.zeros(len(labels), np.bool_))
    unsure = verdict(same, labels, [rival])
    assert unsure.outcome == "cannot tell"
    assert "no worse than the champion (version 1); " in unsure.summary
    found = re.search(r"(\d+) test photos would be enough in four of five cases", unsure.summary)
    assert found
    enough = int(found[1])
    nights = [night(enough, 0.01, 0.01, seed).outcome for seed in range(60)]
    assert nights.count("promote") >= 40  # 48 expected, and 30 on as many as the bar itself asks for


def test_the_same_network_is_no_worse_on_however_few_photos() -> None:
    labels = labelled(60)
    same = model(labels, 0.0, np.random.default_rng(0))
    champion = replace(rival("champion (version 1)", same), network="abc")
    mine = Challenger(Answers.of(same), SOME, FileFacts(0.0, megabytes=10.0), network="abc")
    assert judge(mine, labels, [champion], {}, COSTS, ASKED).outcome == "promote"
    other = same.copy()
    other[0] = other[0, ::-1]
    differs = replace(champion, answers=Answers.of(other))  # as where it abstains from other photos now
    assert judge(mine, labels, [differs], {}, COSTS, ASKED).outcome == "cannot tell"


def test_a_cautious_challenger_is_not_refused_by_slices() -> None:
    refused = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, 300)
        slices = {f"slice {i}": rng.permutation(300) < 100 for i in range(12)}
        mine = model(labels, 0.0, rng)
        mine[rng.random(300) < 0.04] = 0.5  # which it leaves to a person, at half of a mistake's cost
        judged = verdict(mine, labels, [rival("champion", model(labels, 0.02, rng))], slices)
        refused += any(b.passed is False and b.name.startswith("slice") for b in judged.bars)
    assert refused <= 1


def test_a_challenger_that_seems_a_little_worse_is_told_how_many_photos_would_do() -> None:
    labels = labelled(500)
    right = model(labels, 0.0, np.random.default_rng(0))
    mine, theirs = right.copy(), right.copy()
    mine[:12], theirs[12:20] = mine[:12, ::-1], theirs[12:20, ::-1]
    champion = Rival("champion (version 1)", Answers.of(theirs), np.zeros(len(labels), np.bool_))
    unsure = verdict(mine, labels, [champion])
    assert unsure.outcome == "cannot tell"
    found = re.search(r"(\d+) test photos would be enough", unsure.summary)
    assert found
    assert int(found[1]) > len(labels)


def test_a_clearly_worse_challenger_is_refused() -> None:
    assert night(1000, 0.09, 0.01, 0).outcome == "refuse"


def test_photos_that_the_champion_was_trained_on_are_left_out_and_counted() -> None:
    labels = labelled()
    same = model(labels, 0.0, np.random.default_rng(0))
    seen = np.zeros(len(labels), np.bool_)
    seen[:100] = True
    judged = verdict(same, labels, [Rival("champion (version 1)", Answers.of(same), seen)])
    assert any("300 photos, 100 left out" in bar.got for bar in judged.bars)


def test_a_slice_that_is_much_worse_refuses_a_model_that_is_fine_on_the_whole() -> None:
    labels = labelled(4000)
    mine = model(labels, 0.0, np.random.default_rng(0))
    theirs = mine.copy()
    mine[:60] = mine[:60, ::-1]
    rows = np.zeros(len(labels), np.bool_)
    rows[:300] = True
    rival = Rival("champion (version 1)", Answers.of(theirs), np.zeros(len(labels), np.bool_))
    refused = verdict(mine, labels, [rival], {"source = night": rows})
    assert refused.outcome == "refuse"
    assert "source = night" in refused.summary


def rival(name: str, probabilities: NDArray[np.float32]) -> Rival:
    return Rival(name, Answers.of(probabilities), np.zeros(len(probabilities), np.bool_))


def test_equal_models_are_refused_by_slices_in_at_most_one_night_in_a_hundred() -> None:
    refused = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        slices = {f"slice {i}": rng.random(1200) < 0.3 for i in range(12)}
        labels = rng.integers(0, 2, 1200)
        mine, champion, anchor = (model(labels, 0.03, rng) for _ in range(3))
        rivals = [rival("champion", champion), rival("anchor", anchor)]
        judged = verdict(mine, labels, rivals, slices)
        refused += any(b.passed is False and b.name.startswith("slice") for b in judged.bars)
    assert refused <= 3


def test_a_model_worse_by_twice_the_margin_is_promoted_in_at_most_five_nights_in_a_hundred() -> None:
    promoted = sum(night(1000, 0.06, 0.02, seed).outcome == "promote" for seed in range(200))
    assert promoted <= 10


def highest_error(nights: int, has_anchor: bool, seed: int) -> float:
    """The champion's true error at its worst, when each night's challenger is about as good as it."""
    rng = np.random.default_rng(seed)
    labels = labelled(800)
    unseen = np.zeros(len(labels), np.bool_)
    error = worst = 0.03
    champion = anchor = model(labels, error, rng)
    for _ in range(nights):
        theirs = float(np.clip(error + rng.normal(0.0, 0.01), 0.0, 1.0))
        challenger = model(labels, theirs, rng)
        rivals = [Rival("champion", Answers.of(champion), unseen)]
        if has_anchor:
            rivals.append(Rival("anchor", Answers.of(anchor), unseen))
        if verdict(challenger, labels, rivals).outcome == "promote":
            champion, error = challenger, theirs
            if (challenger.argmax(1) != labels).mean() < (anchor.argmax(1) != labels).mean():
                anchor = challenger
        worst = max(worst, error)
    return worst


@pytest.mark.parametrize("seed", range(3))
def test_two_hundred_nights_of_challengers_as_good_as_the_champion_do_not_slide(seed: int) -> None:
    assert highest_error(200, has_anchor=True, seed=seed) <= 0.03 + ASKED.margin


def test_without_the_anchor_it_slides_further() -> None:
    assert highest_error(200, has_anchor=False, seed=2) > highest_error(200, has_anchor=True, seed=2) + 0.01


def test_a_slice_that_is_wholly_worse_fails_beside_five_hundred_others() -> None:
    labels = labelled(50_000)
    theirs = model(labels, 0.05, np.random.default_rng(1))
    mine = theirs.copy()
    mine[:100] = np.where(np.eye(2)[1 - labels[:100]] > 0, 0.98, 0.02)
    mine[:10] = 0.5  # which is left to a person, and costs half as much
    slices = {f"class {n}": np.arange(len(labels)) // 100 == n for n in range(500)}
    refused = verdict(mine, labels, [rival("champion (version 1)", theirs)], slices)
    assert "slice class 0 against the champion (version 1)" in refused.summary


def test_a_small_class_that_the_challenger_has_forgotten_is_enough_to_refuse_it() -> None:
    labels = np.r_[np.zeros(60, np.int64), np.ones(9_940, np.int64)]
    theirs = model(labels, 0.02, np.random.default_rng(0))
    mine = theirs.copy()
    mine[:30] = mine[:30, ::-1]
    slices = {"label = cat": labels == 0, "source = web": np.arange(len(labels)) < 60 + 30}
    refused = verdict(mine, labels, [rival("champion (version 1)", theirs)], slices)
    assert "slice label = cat against the champion (version 1)" in refused.summary
    told = next(bar for bar in refused.bars if bar.name.startswith("slices of"))
    assert told.got == "1 of 1; 1 smaller ones are not compared"


@pytest.mark.parametrize("photos", [12, 30])
def test_equal_models_are_hardly_ever_refused_by_small_classes(photos: int) -> None:
    refused = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, 10 * photos)
        kinds = np.arange(len(labels)) // photos
        slices = {
            f"label = {n} of {name}": (kinds == n) & (labels == name) for n in range(10) for name in (0, 1)
        }
        mine, champion, anchor = (model(labels, 0.1, rng) for _ in range(3))
        judged = verdict(mine, labels, [rival("champion", champion), rival("anchor", anchor)], slices)
        refused += any(b.passed is False and b.name.startswith("slice ") for b in judged.bars)
    assert refused <= 1


def test_a_class_that_is_wholly_worse_fails_where_mistakes_about_another_are_dear() -> None:
    labels = np.r_[np.zeros(100, np.int64), np.ones(39_900, np.int64)]
    theirs = model(labels, 0.0, np.random.default_rng(0))
    mine = np.r_[theirs[:100, ::-1], theirs[100:]]
    costs = Costs(((0.0, 1.0), (20.0, 0.0)), ask=0.9)
    challenger = Challenger(Answers.of(mine), SOME, FileFacts(0.0, megabytes=10.0))
    slices = {"class cat": labels == 0}
    refused = judge(challenger, labels, [rival("champion (version 1)", theirs)], slices, costs, ASKED)
    assert "slice class cat against the champion (version 1)" in refused.summary


def test_equal_models_whose_mistakes_cost_thousands_are_not_called_worse() -> None:
    labels = labelled()
    mine, theirs = (np.where(np.eye(2)[labels] > 0, 0.98, 0.02).astype(np.float32) for _ in range(2))
    mine[:3], theirs[10:13] = mine[:3, ::-1], theirs[10:13, ::-1]
    dear = Costs(((0.0, 1000.0), (1000.0, 0.0)), ask=50.0)
    challenger = Challenger(Answers.of(mine), SOME, FileFacts(0.0, megabytes=10.0))
    found = judge(challenger, labels, [rival("champion (version 1)", theirs)], {}, dear, ASKED)
    assert found.outcome == "cannot tell"
    assert "seems worse" not in found.summary
    assert "more than ten million" in found.summary
