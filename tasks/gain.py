"""What a search gained: its best candidate against the one that the nights preferred before.

Both are trained alike and asked about the same test photos, which no search has seen. Knows networks and
costs; knows nothing about how candidates were found.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from pawloop import durable
from pawloop.decision import incurred
from pawloop.errors import DamagedFileError, TrainingError
from tasks import calibrate, finetune
from tasks.answer import Answers
from tasks.contest import Contest
from tasks.entry import Entry
from tasks.evaluate import largest_cost
from tasks.inputs import Progress
from tasks.paired import by_group, lower_bound, upper_bound
from tasks.trials import Trial, trial_of
from tasks.tune import Search, checkpoints

log = logging.getLogger(__name__)

_RECORD: Final = "told.json"  # in the search's folder: what was told of it last


@dataclass(frozen=True)
class Gain:
    """Expected cost of the one found less that of the one before, with its two-sided 90 % interval.

    accuracies: before and found, on `photos` test photos.
    """

    difference: float
    low: float
    high: float
    accuracies: tuple[float, float]
    photos: int

    @property
    def summary(self) -> str:
        """One line for a person."""
        before, found = self.accuracies
        return (
            f"Against the candidate before, both fine-tuned: expected cost {self.difference:+.4f} "
            f"(90 % interval {self.low:+.4f} to {self.high:+.4f}), accuracy {before:.4f} to {found:.4f} "
            f"on {self.photos} test photos"
        )


@dataclass(frozen=True)
class Told:
    """What became of a search. line: for a person. first: the candidate that the next nights prefer."""

    line: str
    first: Trial


def told(search: Search, before: Trial, found: Trial, on_progress: Progress) -> Told:
    """What the search gained, or that it found nothing better, which is remembered with it.

    A search that had tried all of its trials before says so, and what it said then, unless the candidate
    before is another by now.
    """
    earlier = _remembered(search)
    if search.was_done and before == (earlier.first if earlier else found):
        done = f"All {search.ended} trials of this search were done before, so none was tried"
        then = f"What it said then: {earlier.line}" if earlier else f"Its best is {found.name}"
        return Told(f"{done}; raise [tune] trials, or take another seed, to search on. {then}", before)
    news = _news(search, before, found, on_progress)
    record = {"line": news.line, "first": asdict(news.first)}
    durable.write_json(search.folder / _RECORD, record)
    return news


def _remembered(search: Search) -> Told | None:
    """What was told of this search the last time; None where nothing was, or its file is damaged."""

    def form(record: dict[str, Any]) -> Told:  # Any: JSON's values
        return Told(str(record["line"]), trial_of(record["first"]))

    try:
        return durable.read_json(search.folder / _RECORD, form, "delete it")
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        log.warning("What was told of a search is left out: %s", error)
        return None


def _news(search: Search, before: Trial, found: Trial, on_progress: Progress) -> Told:
    """What comparing them says.

    It was chosen on validation photos, so test photos have a say only where they show that it costs more: it
    is not preferred then. A candidate that cannot be trained in a trial's time is told, too: what was found
    is left all the same.
    """
    if found == before:
        return Told(f"Nothing better than the candidate before was found: {before.name}", before)
    try:
        gained = gain(search, (before, found), on_progress)
    except TrainingError as error:
        return Told(f"{found.name}. Not compared with the candidate before, {before.name}: {error}", found)
    if gained.low > 0:
        why = f"{found.name}, the best on validation photos, is left out: test photos show that it costs more"
        return Told(f"{why}. {gained.summary}. The candidate before stays: {before.name}", before)
    return Told(f"{found.name}. {gained.summary}", found)


def gain(search: Search, pair: tuple[Trial, Trial], on_progress: Progress) -> Gain:
    """Train both of `pair` (before, found) for the search's `trial_s`, and compare them as fine-tuned."""
    dataset, problem = search.dataset, search.problem
    costs, right = [], []
    for trial in pair:
        recipe = search.recipe(trial, problem.tune.trial_s)
        place = checkpoints(search, recipe)
        known = (dataset, recipe, search.weights, place)
        contest = Contest(*known, on_progress, limit="[tune] trial_s", heads=search.heads)
        contest.prepare()
        # Its frozen head may be better, but knows nothing of rates, and would be the same for both.
        fine_tuned = next(entry for entry in contest.run() if entry.tuning)
        answers, labels = _answered(contest, fine_tuned)
        shutil.rmtree(place)
        costs.append(incurred(labels, answers.decide(problem.costs), problem.costs))
        right.append(answers.decide(problem.costs).label == labels)
    photos = min(map(len, right))  # memory holds fewer at a larger size; they are the first in one order
    extra = costs[1][:photos] - costs[0][:photos]
    difference, each = by_group(extra, dataset.groups("test")[:photos])
    largest = each * largest_cost(problem.costs)
    return Gain(
        float(difference.mean()),
        lower_bound(difference, largest),
        upper_bound(difference, largest),
        (float(right[0][:photos].mean()), float(right[1][:photos].mean())),
        photos,
    )


def _answered(contest: Contest, entry: Entry) -> tuple[Answers, NDArray[np.int64]]:
    """What the network says of the test photos, at the temperature that suits the validation photos."""
    held = contest.inputs.activations(entry.net, entry.network, "validation", 0)
    temperature = calibrate.fit_temperature(finetune.logits(entry.network, held.values), held.labels)
    asked = contest.inputs.activations(entry.net, entry.network, "test", 0)
    logits = finetune.logits(entry.network, asked.values)
    return Answers.of(softmax(logits / temperature, axis=1)), asked.labels
