"""The flow `retrain`: photos in, a better champion out, or a reason why not.

Holds the order of the stages and what people see of them in the Prefect UI; what a stage does stands
in `tasks/` and `export/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.logging import get_run_logger

from flows import run
from flows.progress import Progress
from pawloop import in_service
from pawloop import problem as problems
from pawloop.card import Card, Precision, Variant, Verdict
from pawloop.problem import Problem
from pawloop.registry import Registry
from pawloop.sections import Seed
from pawloop.settings import Settings
from tasks import (
    admission,
    allowed,
    cardtext,
    describe,
    extractors,
    manifest,
    provenance,
    release,
    retrain_report,
    runs,
    shadow_verdict,
    shadowing,
    trials,
    weigh,
)
from tasks import candidate as candidates
from tasks import collect as collecting
from tasks import curate as curating
from tasks import explore as exploring
from tasks import recipe as recipes
from tasks import rivals as rivalry
from tasks import split as splitting
from tasks import train as training
from tasks import validate as validating
from tasks import variants as variety
from tasks import weights as pretraining
from tasks.candidate import Candidate
from tasks.manifest import Dataset
from tasks.recipe import Recipe
from tasks.rivals import Rivals
from tasks.runs import Cause, Ending
from tasks.train import Trained
from tasks.variants import Judged
from tasks.weights import Pretrained

CONFIRM_S = 60.0


@flow(name="retrain", validate_parameters=True, **run.HOOKS)
def retrain(
    problem: str | None = None,
    source: str | None = None,
    backbone: Literal["mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v2", "efficientnet_lite0"]
    | None = None,
    seed: Seed = 0,
    force: bool = False,
) -> State:
    """Photos in, a better champion out, or a reason why not.

    Args:
        problem: A name in `problems/` or the path of a problem file; empty takes `PAWLOOP_PROBLEM`.
        source: Photos to take instead of the problem's sources: a folder, a zip, a URL.
        backbone: Network to take instead of the problem's.
        seed: Of fine-tuning; another one gives another, equally good model. A head alone is the same by any.
        force: Judge again when nothing is new since the champion; what is trained already is not again.
    """
    chosen = run.loaded()
    spec = allowed.varied(problems.load(problem or chosen.problem), source, backbone, chosen.allowed_places)
    store, registry = chosen.store.resolve(), Registry(chosen.store.resolve(), spec.name)
    with run.only_one(store, spec):
        shadowing.end_left_over(registry)
        finish_left_over(store, registry, chosen.server_url)
        weights = pretrained(spec, store)
        with run.alone_with_photos(store, spec):
            dataset = split(curate(collect(spec, store), spec, store), spec, store)
        recipe = recipes.plan(spec, weights, seed, trials.read_found(store, spec.name))
        key = recipe.key(dataset, provenance.code_version())
        cause = Cause(key, runs.terms(spec))
        known = None if force else runs.known_result(store, registry, cause, runs.shadow_terms(spec))
        if known:
            return run.ended(spec, "Unchanged", f"nothing new: {known}{_by_old_costs(registry, spec)}")
        earlier = reference(registry, dataset)
        validate(dataset, spec, earlier)
        explore(dataset, spec, earlier, recipe, weights)
        place = runs.begin(store, cause, anew=force)
        trained = train(dataset, recipe, weights, key)
        candidate = export(trained, dataset, spec, place)
        variants = calibrate(candidate, dataset, spec)
        judged = evaluate(candidate, variants, dataset, spec)
        rivals = compare(registry, spec, dataset, place)
        verdict, variants = gate(judged, variants, rivals, dataset, spec, candidate)
        card = describe.describe(spec, dataset, weights, trained, cause, candidate, variants, judged, verdict)
        before, version, number = rivals.before, None, None
        if verdict.outcome == "promote":
            number = publish(registry, candidate, card)
            verdict = shadow(registry, number, verdict, spec, chosen)
        if number and verdict.outcome == "promote":
            best = rivals.best(number, judged["float32"].answers(), spec.costs)
            version = promote(registry, number, verdict, before, best)
        tell(card.model_copy(update={"verdict": verdict}), judged["float32"], dataset, rivals, version)
        if version is not None:
            confirm(registry, version, before, chosen.server_url)
        runs.end(place, cause, Ending(verdict, before, number, version, runs.shadow_terms(spec)))
        run.show_experiments(store, spec)
        if version is None:
            return run.ended(spec, verdict.outcome.title(), verdict.summary + _by_old_costs(registry, spec))
        return run.ended(spec, f"Version {version}", verdict.summary)


@task(name="pretrained weights", cache_policy=NO_CACHE)
def pretrained(spec: Problem, store: Path) -> Sequence[Pretrained]:
    weights = pretraining.pretrained_all(spec, store, get_run_logger().warning)
    for one in weights:
        get_run_logger().info("Backbone: %s", one.because)
    return weights


@task(
    name="collect", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=run.by_chance
)
def collect(spec: Problem, store: Path) -> Path:
    found = collecting.collect(spec, store, Progress("Collect").of("photos"))
    for note in found.notes:
        get_run_logger().warning(note)
    get_run_logger().info("Found %d photos: %s", found.photo_count, found.classes)
    return found.path


@task(name="curate", cache_policy=NO_CACHE)
def curate(found: Path, spec: Problem, store: Path) -> Path:
    curated = curating.curate(found, spec, store, Progress("Curate").of("photos read"))
    get_run_logger().info("Kept %d photos; set aside: %s", curated.kept, curated.set_aside or "none")
    return curated.path


@task(name="split", cache_policy=NO_CACHE)
def split(curated: Path, spec: Problem, store: Path) -> Dataset:
    dataset = splitting.split(curated, spec, store)
    get_run_logger().info("Dataset version %s: %s", dataset.id, dataset.counts())
    return dataset


@task(name="validate", cache_policy=NO_CACHE)
def validate(dataset: Dataset, spec: Problem, earlier: Dataset | None) -> None:
    checks = validating.validate(dataset, spec, earlier)
    failed = [check for check in checks if not check.passed]
    for check in failed:
        get_run_logger().warning("%s: asked %s, got %s", check.name, check.asked, check.got)
    if failed:
        emit_event(
            "pawloop.validation.failed",
            resource={"prefect.resource.id": f"pawloop.dataset.{dataset.name}.{dataset.id}"},
            payload={"checks": [f"{c.name}: asked {c.asked}, got {c.got}" for c in failed]},
        )
    validating.require(checks)


@task(name="explore", cache_policy=NO_CACHE)
def explore(
    dataset: Dataset, spec: Problem, earlier: Dataset | None, recipe: Recipe, weights: Sequence[Pretrained]
) -> None:
    bar = Progress("Explore").of("embeddings of photos")
    embeddings = extractors.embeddings(dataset, recipe.nets[0], weights[0], bar)
    told = exploring.explore(dataset, spec, earlier, embeddings)
    create_markdown_artifact(
        told.markdown, key=run.artifact_key(spec.name, "data"), description=f"Photos of version {dataset.id}"
    )
    get_run_logger().info("Data report: %s", told.html)
    if told.doubt:
        get_run_logger().warning("%s `pawloop data show` names them.", told.doubt)


@task(name="train", cache_policy=NO_CACHE)
def train(dataset: Dataset, recipe: Recipe, weights: Sequence[Pretrained], key: str) -> Trained:
    trained = training.train(dataset, recipe, weights, key, Progress("Train"))
    create_markdown_artifact(
        cardtext.candidates(trained.story),
        key=run.artifact_key(dataset.name, "candidates"),
        description="Candidates of the last training",
    )
    return trained


@task(name="export", cache_policy=NO_CACHE)
def export(trained: Trained, dataset: Dataset, spec: Problem, place: Path) -> Candidate:
    return candidates.export(trained, dataset, spec, place)


@task(name="calibrate", cache_policy=NO_CACHE)
def calibrate(candidate: Candidate, dataset: Dataset, spec: Problem) -> dict[Precision, Variant]:
    found = variety.calibrate(candidate, dataset, spec, Progress("Calibrate"))
    for precision, variant in found.items():
        get_run_logger().info("%s: %s", precision, variant.reason or "admitted")
    return found


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate(
    candidate: Candidate, variants: dict[Precision, Variant], dataset: Dataset, spec: Problem
) -> dict[Precision, Judged]:
    return variety.judge(candidate, variants, dataset, spec, Progress("Evaluate"))


@task(name="compare", cache_policy=NO_CACHE)
def compare(registry: Registry, spec: Problem, dataset: Dataset, place: Path) -> Rivals:
    found = rivalry.rivals(registry, spec, dataset, place, Progress("Compare"))
    for note in found.notes:
        get_run_logger().warning(note)
    return found


@task(name="gate", cache_policy=NO_CACHE)
def gate(
    judged: dict[Precision, Judged],
    variants: dict[Precision, Variant],
    rivals: Rivals,
    dataset: Dataset,
    spec: Problem,
    candidate: Candidate,
) -> tuple[Verdict, dict[Precision, Variant]]:
    facts = weigh.weigh(candidate, rivals.champion)
    found = admission.verdicts(judged, rivals, dataset, spec, facts, candidate.network)
    serving = admission.withheld(variants, found)
    for precision, verdict in found.items():
        rest = "" if serving[precision].admitted else f"; it does not serve: {serving[precision].reason}"
        get_run_logger().info("Verdict on %s: %s%s", precision, verdict.summary, rest)
    return found["float32"], serving


@task(name="publish", cache_policy=NO_CACHE)
def publish(registry: Registry, candidate: Candidate, card: Card) -> int:
    return release.publish_once(registry, candidate.folder, card).number


@task(name="shadow", cache_policy=NO_CACHE)
def shadow(registry: Registry, number: int, gate: Verdict, spec: Problem, chosen: Settings) -> Verdict:
    if not shadowing.is_asked(registry, spec):
        return shadowing.unasked(gate, spec)
    refusal = partial(release.refusal, registry, number, chosen.server_url)
    bar = Progress("Shadow").of("live photos")
    found = shadowing.observed(registry, number, spec, chosen.journal_url, refusal, bar)
    get_run_logger().info("Beside the champion: %s", found.summary)
    return shadow_verdict.joined(gate, found)


@task(name="promote", cache_policy=NO_CACHE)
def promote(registry: Registry, number: int, verdict: Verdict, before: int | None, best: int) -> int:
    registry.promote(number, verdict.summary, expected=before, anchor=best)
    get_run_logger().info("%s version %d is champion", registry.name, number)
    return number


@task(name="report", cache_policy=NO_CACHE)
def tell(card: Card, judged: Judged, dataset: Dataset, rivals: Rivals, version: int | None) -> None:
    shown = card.model_copy(update={"version": version or 0})
    page = retrain_report.retrain_report(shown, judged, dataset, rivals.accuracies(card.costs), rivals.notes)
    create_markdown_artifact(
        page, key=run.artifact_key(card.name, "report"), description=card.verdict.summary
    )
    create_markdown_artifact(
        cardtext.card_markdown(shown), key=run.artifact_key(card.name, "card"), description="The model card"
    )


@task(name="confirm", cache_policy=NO_CACHE)
def confirm(registry: Registry, version: int, before: int | None, server_url: str) -> None:
    found = release.confirm(registry, version, before, server_url, CONFIRM_S)
    logger = get_run_logger()
    (logger.info if found.is_so else logger.warning)(found.told)


def finish_left_over(store: Path, registry: Registry, server_url: str) -> None:
    """Confirm the champion whose run was killed after it was promoted, and end that run."""
    left = runs.promoted_and_killed(store, registry)
    if left is None:
        return
    version, place = left
    before = registry.aliases().previous
    confirm(registry, version.number, before, server_url)
    card = version.card
    ending = Ending(card.verdict, before, version.number, version.number)
    runs.end(place, Cause(card.recipe_key, card.terms_key), ending)


def _by_old_costs(registry: Registry, spec: Problem) -> str:
    champion = registry.readable_champion()
    told = champion and in_service.old_costs(champion.card, spec)
    return f". Still in service: {told}" if told else ""


def reference(registry: Registry, dataset: Dataset) -> Dataset | None:
    """Whom a version of the photos is compared with, as `manifest.reference` has it."""
    champion = registry.readable_champion()
    return manifest.reference(dataset, champion.card.dataset.id if champion else None)
