"""The report of a retrain, as one page of Markdown for the Prefect UI.

Knows results, words and plots. Knows nothing about Prefect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pawloop.card import Card
from tasks import plots
from tasks.cardtext import metrics_markdown, table, verdict_markdown
from tasks.manifest import Dataset
from tasks.variants import Judged

LIMIT_BYTES = 200_000


def retrain_report(
    card: Card, judged: Judged, dataset: Dataset, rivals: Mapping[str, float], notes: list[str]
) -> str:
    """Verdict, numbers, candidates, plots and the worst mistakes.

    rivals: accuracy of those in service on the same test photos, by their names. A plot that would
    take the page past 200 kB is left out.
    """
    title = f"{card.name}, version {card.version}" if card.version else card.name
    sections = [
        f"# {title}: {card.verdict.outcome}",
        verdict_markdown(card.verdict),
        *[f"> {note}" for note in notes],
        f"## The challenger\n\n{card.backbone_because}\n\n{metrics_markdown(card)}",
        _rivals(rivals, judged),
        "## Candidates\n\n" + candidates(card.recipe["training"]),
        "## By class\n\n" + _by_class(judged),
    ]
    text = "\n\n".join(section for section in sections if section)
    for heading, png in _plots(card, judged, dataset):
        picture = f"\n\n## {heading}\n\n{plots.inline(png, heading)}"
        if len(text) + len(picture) < LIMIT_BYTES:
            text += picture
    return text


def candidates(training: Mapping[str, Any]) -> str:  # Any: names and numbers
    """The candidates of a training, side by side on validation photos."""
    rows = [
        (
            found["name"],
            found["backbone"],
            f"{found['validation_accuracy']:.4f}",
            f"{found['validation_log_loss']:.4f}",
            f"{found['seconds']:.1f}",
        )
        for found in training["candidates"]
    ]
    header = ("candidate", "backbone", "validation accuracy", "log-loss", "seconds")
    return table(header, rows) + (f"\n\n{training['note']}" if training["note"] else "")


def _rivals(rivals: Mapping[str, float], judged: Judged) -> str:
    if not rivals:
        return ""
    rows = [(name, f"{accuracy:.4f}") for name, accuracy in rivals.items()]
    rows.append(("the challenger", f"{judged.evaluation.accuracy:.4f}"))
    return "## On the same test photos\n\n" + table(("model", "accuracy"), rows)


def _by_class(judged: Judged) -> str:
    rows = [
        (name, f"{c.precision:.3f}", f"{c.recall:.3f}", c.count)
        for name, c in judged.evaluation.classes.items()
    ]
    return table(("class", "precision", "recall", "test photos"), rows)


def _plots(card: Card, judged: Judged, dataset: Dataset) -> list[tuple[str, bytes]]:
    training = card.recipe["training"]
    drawn = [
        ("Confusion", plots.confusion(judged.evaluation.confusion, card.classes)),
        ("Reliability", plots.reliability(judged.evaluation.reliability)),
        ("Error by coverage", plots.coverage(judged.answers().probabilities, judged.labels())),
        ("The head's penalty", plots.penalties(training["candidates"][0]["penalties"])),
        ("Fine-tuning", plots.curves(training["curve"])),
        ("Worst mistakes", plots.worst_mistakes(judged, card.classes, dataset)),
    ]
    return [(heading, png) for heading, png in drawn if png is not None]
