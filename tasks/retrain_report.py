"""The report of a retrain, as one page of Markdown for the Prefect UI.

Knows results, words and plots. Knows nothing about Prefect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pawloop.card import Card
from tasks import pictures, plots
from tasks.cardtext import (
    candidates,
    classes_markdown,
    confused_markdown,
    metrics_markdown,
    plain,
    slices_markdown,
    table,
    verdict_markdown,
)
from tasks.manifest import Dataset
from tasks.mistakes import worst_in_slices
from tasks.slices import slices
from tasks.variants import Judged

LIMIT_BYTES = 200_000
_WORST_SLICES = 3


def retrain_report(
    card: Card, judged: Judged, dataset: Dataset, rivals: Mapping[str, float], notes: list[str]
) -> str:
    """Verdict, numbers, candidates, slices, plots and the worst mistakes.

    rivals: accuracy of those in service on the same test photos, by their names. A plot that would
    take the page past 200 kB is left out.
    """
    title = f"{card.name}, version {card.version}" if card.version else card.name
    sections = [
        f"# {title}: {card.verdict.outcome}",
        verdict_markdown(card.verdict),
        *[f"> {plain(note)}" for note in notes],
        f"## The challenger\n\n{card.backbone_because}\n\n{metrics_markdown(card)}",
        _rivals(rivals, judged),
        "## Candidates\n\n" + candidates(card.recipe["training"]),
        "## By class\n\n" + classes_markdown(card.metrics["float32"]),
        _confused(card),
        "## By kind of photo\n\n" + slices_markdown(card.metrics["float32"]),
    ]
    text = "\n\n".join(section for section in sections if section)
    for heading, drawn in _plots(card, judged, dataset):
        picture = f"\n\n## {heading}\n\n{plots.inline(drawn, heading)}"
        if len(text) + len(picture) < LIMIT_BYTES:
            text += picture
    return text


def _confused(card: Card) -> str:
    said = confused_markdown(card.metrics["float32"], card.classes)
    return said and f"## Which classes it takes for others\n\n{said}"


def _penalties(training: Mapping[str, Any]) -> Sequence[Mapping[str, float]]:  # Any: as above
    """Of the best frozen candidate, the first in the list that has them."""
    tried: Sequence[Mapping[str, float]] = next(
        found["penalties"] for found in training["candidates"] if "penalties" in found
    )
    return tried


def _rivals(rivals: Mapping[str, float], judged: Judged) -> str:
    if not rivals:
        return ""
    rows = [(name, f"{accuracy:.4f}") for name, accuracy in rivals.items()]
    rows.append(("the challenger", f"{judged.evaluation.accuracy:.4f}"))
    return "## On the same test photos\n\n" + table(("model", "accuracy"), rows)


def _plots(card: Card, judged: Judged, dataset: Dataset) -> list[tuple[str, bytes]]:
    training, evaluation = card.recipe["training"], judged.evaluation
    answers, labels = judged.answers(), judged.labels()
    said = answers.decide(card.costs).label
    worst = worst_in_slices(answers, said, labels, slices(dataset.photos("test")), judged.slices, each=4)
    some = dict(list(worst.items())[:_WORST_SLICES])
    drawn = [
        ("Confusion", plots.confusion(evaluation.confusion, card.classes)),
        ("Worst mistakes", pictures.mistakes(judged, said, card.classes, dataset)),
        (
            "Worst mistakes: what carried the answer",
            pictures.occlusions(judged.occlusions, card.classes, labels),
        ),
        (
            "Mistakes in the worst kinds of photos",
            pictures.mistakes_by_slice(judged, said, card.classes, dataset, some),
        ),
        ("Reliability", plots.reliability(evaluation.reliability)),
        ("Error by coverage", plots.coverage(answers.probabilities, labels)),
        ("Each class against all others", plots.one_against_all(answers.probabilities, labels, evaluation)),
        ("When photos are harmed", plots.robustness(judged.robustness) if judged.robustness else None),
        ("The head's penalty", plots.penalties(_penalties(training))),
        ("Fine-tuning", plots.curves(training["curve"])),
    ]
    return [(heading, picture) for heading, picture in drawn if picture is not None]
