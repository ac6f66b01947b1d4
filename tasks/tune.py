"""The search: which network, input size and fine-tuning are best for a problem, by Optuna.

The study lies in the store, so a killed search goes on where it stopped, and what it finds are the
candidates of the next nights. Knows search spaces and trials; knows nothing about Prefect or who is
champion.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pawloop import durable
from pawloop.errors import TrainingError
from pawloop.problem import Problem
from tasks import provenance
from tasks.contest import Contest, Frozen
from tasks.entry import Entry
from tasks.experiments import log_trial
from tasks.extractors import Net
from tasks.features import UnfinishedError
from tasks.finetune import Tuning
from tasks.inputs import Progress
from tasks.manifest import Dataset
from tasks.recipe import Recipe
from tasks.trials import CROP, Trial, cuts, read_found, trials, write_found
from tasks.weights import Pretrained

IN_VAIN: Final = (
    '[train] fine_tune = "never", so no night would use what a search finds, which is how to fine-tune; '
    'set it to "auto" or "always" to search'
)
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
_LEFT = "what is left of [tune] budget_s"


@dataclass(frozen=True)
class Search:
    """A study and what it stands for.

    folder: where its trials' networks and records lie. begun: how many trials had ended when it was opened.
    heads: those found so far, the same for all trials.
    """

    study: Study
    folder: Path
    dataset: Dataset
    problem: Problem
    weights: tuple[Pretrained, ...]
    seed: int
    begun: int = 0
    heads: dict[Net, Frozen] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """How many trials came to their end or were stopped as hopeless."""
        return len(self.study.get_trials(deepcopy=False, states=_ENDED))

    @property
    def was_done(self) -> bool:
        """Whether all trials had ended before it was opened, so that none was left to try."""
        return self.begun >= self.problem.tune.trials

    @property
    def done(self) -> list[FrozenTrial]:
        """Trials that were trained to their end, the best on validation photos first."""
        finished = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return sorted(finished, key=lambda one: one.values[0])

    def trial(self, parameters: Mapping[str, Any]) -> Trial:  # Any: Optuna's values
        """The candidate that a trial's parameters describe."""
        net = _networks(self.problem, self.weights)[parameters["network"]]
        return Trial(net, Tuning(**{name: parameters[name] for name in ("rate", "decay", "smoothing")}))

    def recipe(self, trial: Trial, seconds: float) -> Recipe:
        """To train this candidate alone for so long, by the cut that suits its network."""
        tried, problem = cuts(trial, self.problem), self.problem
        return Recipe(tried, "always", problem.train.views, seconds, problem.classes, self.seed)


def open_search(dataset: Dataset, problem: Problem, weights: Sequence[Pretrained], seed: int) -> Search:
    """The study of this problem on these photos, new or as it was left.

    A trial that a killed process left behind is put in front of the queue again.
    """
    own = tuple(weights)
    code = provenance.code_version()
    space = problem.tune.model_dump(exclude={"budget_s", "trials", "keep"})
    space |= {
        "networks": [*_networks(problem, own)],
        "crop_modes": problem.train.crop_modes,
        "views": problem.train.views,
    }
    key = durable.content_key(dataset.id, code, space, [(one.backbone, one.sha256) for one in own], seed)
    folder = dataset.store / "tuned" / problem.name / key
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    log = folder / "study.log"
    _drop_half_line(log)
    try:
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(log))),
            study_name=key,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        )
    except ValueError as error:  # a line that is no JSON
        raise TrainingError(
            f"{log}: cannot be read: {error}; delete it, and the search begins anew"
        ) from None
    begun = len(study.get_trials(deepcopy=False))  # with the seed alone, it would draw the first ones again
    study.sampler = optuna.samplers.TPESampler(seed=(seed + begun) % 2**32, n_startup_trials=6)
    search = Search(study, folder, dataset, problem, own, seed)
    _take_up(search)
    return replace(search, begun=search.ended)


def _drop_half_line(log: Path) -> None:
    """What a full disk let through of a last line would be glued to the next one."""
    if log.exists():
        content = log.read_bytes()
        os.truncate(log, content.rfind(b"\n") + 1)


def search(found: Search, on_progress: Progress) -> None:
    """Try candidates until the time or the number of the problem's `[tune]` is reached.

    Raises TrainingError when not even one could be trained to its end.
    """
    asked, problem = found.study, found.problem
    deadline = time.monotonic() + problem.tune.budget_s
    told = found.ended

    said: list[str] = []

    def tried(trial: optuna.Trial) -> float:
        try:
            return _tried(found, trial, deadline)
        except (TrainingError, UnfinishedError) as error:  # this candidate's misfortune, not the search's
            said.append(str(error))
            _log_failed(found, trial, error)
            raise

    def count(*_: object) -> None:
        on_progress("trials", found.ended, problem.tune.trials)

    if told < problem.tune.trials:
        asked.optimize(
            tried,
            n_trials=problem.tune.trials - told,
            timeout=problem.tune.budget_s,
            callbacks=[count],
            catch=(TrainingError, UnfinishedError),
        )
    if not found.done:
        raise TrainingError(
            f"{problem.name}: no trial of the search came to its end; raise [tune] trial_s "
            f"({problem.tune.trial_s:g} s now) or budget_s ({problem.tune.budget_s:g} s)"
            + (f". The last one said: {said[-1]}" if said else "")
        )


def best(found: Search) -> list[Trial]:
    """The trials that become candidates of the next nights, the best first."""
    return list(dict.fromkeys(found.trial(one.params) for one in found.done))[: found.problem.tune.keep]


def leave(found: Search, first: Trial) -> list[Trial]:
    """Write candidates for the next nights, and return them. A later search is compared with the first.

    first: the best one found, or the one before, which then takes its place.
    """
    left = list(dict.fromkeys([first, *best(found)[1:]]))[: found.problem.tune.keep]
    write_found(found.dataset.store, found.problem.name, left)
    return left


def before(dataset: Dataset, problem: Problem, weights: Sequence[Pretrained]) -> Trial:
    """The candidate that the nights preferred until now: an earlier search's best, else the problem's own."""
    earlier = [cuts(one, problem)[0] for one in read_found(dataset.store, problem.name)]
    known = trials(problem, weights, earlier)
    return next((one for one in earlier if one in known), known[0])


def checkpoints(search: Search, recipe: Recipe) -> Path:
    """Of the same name after a kill, so that a training goes on from its last epoch."""
    place = search.folder / replace(recipe, budget_s=0.0).key(search.dataset, "")
    place.mkdir(exist_ok=True)
    return place


def _take_up(search: Search) -> None:
    study = search.study
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)
        study.enqueue_trial(left.params, skip_if_exists=False)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(_first(search))


def _first(search: Search) -> dict[str, Any]:  # Any: Optuna's values
    """The candidate that the nights preferred until now, as far as the search space holds it."""
    start, space = before(search.dataset, search.problem, search.weights), search.problem.tune
    is_tried = start.net.name in _networks(search.problem, search.weights)
    return {
        **({"network": start.net.name} if is_tried else {}),
        "rate": _within(start.tuning.rate, space.rate),
        "decay": _within(start.tuning.decay, space.decay),
        "smoothing": _within(start.tuning.smoothing, space.smoothing),
    }


def _networks(problem: Problem, weights: Sequence[Pretrained]) -> dict[str, Net]:
    """All that may be tried, by name. How photos are cut is no choice of a search: the frozen heads tell."""
    mode = problem.train.crop_modes[0]
    sizes = dict.fromkeys((problem.model.image_size, *problem.tune.image_sizes))
    nets = [Net(one.backbone, one.sha256, size, CROP, mode) for one in weights for size in sizes]
    return {net.name: net for net in nets}


def _within(value: float, span: tuple[float, float]) -> float:
    return min(max(value, span[0]), span[1])


def _tried(search: Search, asked: optuna.Trial, deadline: float) -> float:
    space = search.problem.tune
    asked.suggest_categorical("network", [*_networks(search.problem, search.weights)])
    asked.suggest_float("rate", *space.rate, log=True)
    asked.suggest_float("decay", *space.decay)
    asked.suggest_float("smoothing", *space.smoothing)
    tuned = _trained(search, search.trial(asked.params), asked, deadline)
    is_hopeless = asked.should_prune()
    outcome = "pruned" if is_hopeless else "searched"
    log_trial(search.folder, asked.number, search.dataset, search.seed, tuned.told(), outcome)
    if is_hopeless:
        raise optuna.TrialPruned
    return tuned.validation_log_loss


def _log_failed(search: Search, asked: optuna.Trial, error: Exception) -> None:
    trial = search.trial(asked.params)
    net = asdict(trial.net) | {"name": "fine-tuned", "views": search.problem.train.views}
    candidate = net | {"tuning": asdict(trial.tuning)}
    log_trial(search.folder, asked.number, search.dataset, search.seed, candidate, "failed", str(error))


def _trained(search: Search, trial: Trial, asked: optuna.Trial, deadline: float) -> Entry:
    """The candidate fine-tuned as asked; its frozen heads, the same for all of a network, do not count."""
    problem = search.problem
    seconds = max(0.0, min(problem.tune.trial_s, deadline - time.monotonic()))
    recipe = search.recipe(trial, seconds)
    place = checkpoints(search, recipe)

    def on_epoch(epoch: int, loss: float) -> bool:
        asked.report(loss, epoch)
        return not asked.should_prune()

    limit = "[tune] trial_s" if seconds == problem.tune.trial_s else _LEFT
    known = (search.dataset, recipe, search.weights, place)
    contest = Contest(*known, lambda *_: None, on_epoch, limit, search.heads)
    contest.deadline = deadline
    contest.prepare()
    if deadline - time.monotonic() < seconds:  # a new network's features took their share of it
        contest.limit = _LEFT
    entries = contest.run()
    shutil.rmtree(place)
    return next(entry for entry in entries if entry.tuning)
