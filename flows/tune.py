"""The flow `tune`: photos in, better candidates for the next nights out.

Holds the order of the stages and what people see of them in the Prefect UI. What a night tries is left in
the store, never in the problem file.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from flows import retrain, run
from flows.progress import Progress
from pawloop import problem as problems
from pawloop.problem import Problem
from pawloop.registry import Registry
from pawloop.sections import Seed
from tasks import gain, tune_report
from tasks import tune as tuning
from tasks.gain import Told
from tasks.manifest import Dataset
from tasks.trials import Trial
from tasks.tune import Search
from tasks.weights import Pretrained


@flow(name="tune", validate_parameters=True, **run.HOOKS)
def tune(problem: str | None = None, seed: Seed = 0) -> State:
    """Search for better candidates, which the next nights try beside the problem's own.

    Args:
        problem: A name in `problems/` or the path of a problem file; empty takes `PAWLOOP_PROBLEM`.
        seed: Of search and trainings; with another one the search begins anew.
    """
    chosen = run.loaded()
    spec, store = problems.load(problem or chosen.problem), chosen.store.resolve()
    if spec.train.fine_tune == "never":
        return run.ended(spec, "Skipped", tuning.IN_VAIN)
    with run.only_one(store, spec, "tune"):
        weights = retrain.pretrained(spec, store)
        with run.alone_with_photos(store, spec):
            dataset = retrain.split(retrain.curate(retrain.collect(spec, store), spec, store), spec, store)
        retrain.validate(dataset, spec, retrain.reference(Registry(store, spec.name), dataset))
        before = tuning.before(dataset, spec, weights)
        found = search(dataset, spec, weights, seed)
        told = compare(found, before)
        # Not before, so that a search killed meanwhile is compared with the same candidate again.
        leave(found, told.first)
        tell(found, told.line)
        run.show_experiments(store, spec)
        return run.ended(spec, "Searched", told.line)


@task(name="search", cache_policy=NO_CACHE)
def search(dataset: Dataset, spec: Problem, weights: Sequence[Pretrained], seed: int) -> Search:
    found = tuning.open_search(dataset, spec, weights, seed)
    tuning.search(found, Progress("Search"))
    return found


@task(name="compare", cache_policy=NO_CACHE)
def compare(found: Search, before: Trial) -> Told:
    told = gain.told(found, before, tuning.best(found)[0], Progress("Compare"))
    get_run_logger().info("%s", told.line)
    return told


@task(name="leave candidates", cache_policy=NO_CACHE)
def leave(found: Search, first: Trial) -> None:
    for one in tuning.leave(found, first):
        get_run_logger().info("Candidate of the next nights: %s", one.name)


@task(name="report", cache_policy=NO_CACHE)
def tell(found: Search, summary: str) -> None:
    create_markdown_artifact(
        tune_report.tune_report(found, summary),
        key=run.artifact_key(found.problem.name, "search"),
        description=summary,
    )
