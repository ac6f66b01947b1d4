"""The card of a judged candidate: purpose, data and their terms, numbers, limits, how it was made.

Knows what each stage gave. Knows nothing about the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from pawloop import card as cards
from pawloop import durable
from pawloop.card import Card, Variant, Verdict
from pawloop.errors import DatasetError
from pawloop.printable import some_of
from pawloop.problem import Problem
from tasks.candidate import Candidate
from tasks.intervals import wilson
from tasks.licences import licences
from tasks.manifest import Dataset, versions
from tasks.provenance import code_version
from tasks.robustness import Robustness
from tasks.runs import Cause
from tasks.train import Trained
from tasks.variants import Judged
from tasks.weights import Pretrained

_NOTICED = 0.1  # of accuracy lost under harm, from which on the card's limits tell of it
_MOST_SLICES = 5


def describe(
    problem: Problem,
    dataset: Dataset,
    weights: Sequence[Pretrained],
    trained: Trained,
    cause: Cause,
    candidate: Candidate,
    variants: dict[cards.Precision, Variant],
    judged: dict[cards.Precision, Judged],
    verdict: Verdict,
) -> Card:
    """The candidate's card, still without a version number; also written beside the candidate.

    weights: of all backbones that were tried.
    """
    facts = dataset.facts()
    own = {one.backbone: one for one in weights}[trained.net.backbone]
    sources = list(facts["sources"])
    card = Card(
        name=problem.name,
        version=0,
        run=candidate.folder.parent.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        classes=list(problem.classes),
        purpose=problem.purpose or _purpose(problem),
        image_size=candidate.rule.size,
        crop=candidate.rule.crop,
        crop_mode=candidate.rule.mode,
        mistake_costs=[list(row) for row in problem.costs.mistake],
        ask_cost=problem.costs.ask,
        backbone=own.backbone,
        backbone_because=own.because,
        weights=own.source,
        weights_sha256=own.sha256,
        recipe={**asdict(trained.recipe), "training": trained.story},
        recipe_key=cause.key,
        terms_key=cause.terms,
        code_version=code_version(),
        dataset=cards.Dataset(
            id=dataset.id,
            sources=sources,
            counts=facts["counts"],
            licences=licences(sources, problem.data.licence),
        ),
        variants=variants,
        novelty_threshold=problem.cost.unfamiliar,
        metrics={name: one.metrics() for name, one in judged.items()},
        verdict=verdict,
        limits=[*limits(problem, judged["float32"]), *_alike(dataset), *_learnt(dataset, own)],
        files={one.file: durable.sha256(candidate.folder / one.file) for one in variants.values()},
    )
    durable.write_bytes(candidate.folder / "card.json", card.model_dump_json(indent=2).encode())
    return card


def limits(problem: Problem, judged: Judged) -> Iterator[str]:
    """What its users must know, as far as the test photos told."""
    low, _ = judged.evaluation.accuracy_interval
    yield f"Made for photos of {some_of(problem.classes)}. {_others(problem, judged)}"
    yield (
        f"Judged on {judged.evaluation.photos} photos of the same sources; with 95 % confidence its "
        f"accuracy on such photos is at least {low:.3f}. Other cameras and places may differ."
    )
    worse = [one for one in judged.slices if one.is_worse][:_MOST_SLICES]
    if worse:
        told = ", ".join(f"{one.name} ({one.accuracy:.3f}, {one.photos} photos)" for one in worse)
        yield f"Less accurate on some kinds of photos than on the whole: {told}."
    if judged.robustness:
        yield from _fragile(judged.robustness)


def _others(problem: Problem, judged: Judged) -> str:
    """What comes of photos of anything else; how many of them are found out was not measured."""
    if problem.cost.unfamiliar >= 1:
        return "Whatever else is shown gets one of these names: `[cost] unfamiliar` is 1."
    evaluation = judged.evaluation
    low, high = wilson(evaluation.unfamiliar * evaluation.photos, evaluation.photos)
    return (
        "Other photos are told to be unfamiliar where they are less like the training photos than "
        f"{problem.cost.unfamiliar:.1%} of validation photos; how many are found by that was not measured. "
        f"Of the test photos, which are of these classes, {evaluation.unfamiliar:.1%} are told so, too "
        f"({low:.1%} to {high:.1%})."
    )


def _alike(dataset: Dataset) -> Iterator[str]:
    groups = dataset.groups("test")
    if (count := len(set(groups))) < len(groups):
        yield (
            f"The {len(groups)} test photos are of {count} groups, and those of one are often right or wrong "
            "together. The gate counts a group as one draw; intervals count photos, so they are too narrow."
        )


def _learnt(dataset: Dataset, weights: Pretrained) -> Iterator[str]:
    """Whether the weights at the beginning may know test photos, as where `[data] test` was raised."""
    if weights.source != "champion":
        return
    taught = set[str]()
    for one in versions(dataset.store, dataset.name):
        if one.id == dataset.id:
            continue
        try:
            taught |= {id for id, side in _sides(one) if side != "test"}
        except DatasetError:
            yield f"Whether photos of version {one.id} judged it is not known, since that cannot be read."
    count = sum(id in taught for id, side in _sides(dataset) if side == "test")
    if count:
        yield (
            f"It began from the champion's weights, and {count} of the test photos were on another side of "
            "an earlier version, so that those may have learnt them: the numbers may be too good."
        )


def _sides(dataset: Dataset) -> Iterator[tuple[str, str]]:
    table = dataset.kept(["id", "side"])
    return zip(table["id"].to_pylist(), table["side"].to_pylist(), strict=True)


def _fragile(found: Robustness) -> Iterator[str]:
    clean = found.clean.accuracy
    for kind in found.kinds:
        lost = [one for one in kind.strengths if one.accuracy < clean - _NOTICED]
        if lost:
            first = min(lost, key=lambda one: abs(one.strength - kind.unharmed))
            yield (
                f"Suffers from {kind.name}: at {first.strength:g} ({kind.unit}) its accuracy was "
                f"{first.accuracy:.2f} instead of {clean:.2f} on the same {found.photos} photos."
            )


def _purpose(problem: Problem) -> str:
    return (
        f"Says of one photo at a time whether it shows {some_of(problem.classes, ' or ')}, for photos like "
        "those of its sources, and asks a person where a mistake would be dearer than the question. Not "
        "meant for other kinds of photos, nor where nobody can be asked."
    )
