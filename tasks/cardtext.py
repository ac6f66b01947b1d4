"""Model cards and verdicts in words a person reads.

Knows cards and Markdown. Knows nothing about files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pawloop.card import Card, Verdict

_MARK = {True: "✅ yes", False: "❌ no", None: "⚠️ told only"}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in lines)


def verdict_markdown(verdict: Verdict) -> str:
    """The gate's verdict: a sentence and a line a bar."""
    rows = [(bar.name, bar.asked, bar.got, _MARK[bar.passed]) for bar in verdict.bars]
    text = f"**{verdict.summary}**\n\n" + table(("bar", "asked", "got", "passed"), rows)
    return text + (f"\n\nA person overruled it: {verdict.despite}" if verdict.despite else "")


def metrics_markdown(card: Card) -> str:
    """The numbers of every file of a version, a column each."""
    columns = [_numbers(metrics) for metrics in card.metrics.values()]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return table(("on test photos", *card.metrics), rows)


def _numbers(m: dict[str, Any]) -> dict[str, str]:  # Any: numbers, intervals and tables
    low, high = m["accuracy_interval"]
    cost_low, cost_high = m["expected_cost_interval"]
    return {
        "photos": str(m["photos"]),
        "accuracy (95 %)": f"{m['accuracy']:.4f} ({low:.3f} to {high:.3f})",
        "balanced accuracy": f"{m['balanced_accuracy']:.4f}",
        "expected cost (95 %)": f"{m['expected_cost']:.4f} ({cost_low:.3f} to {cost_high:.3f})",
        "asks a person": f"{m['abstained']:.1%}",
        "log-loss": f"{m['log_loss']:.4f}",
        "Brier score": f"{m['brier']:.4f}",
        "calibration error": f"{m['ece']:.4f} (chance alone: up to {m['ece_by_chance']:.4f})",
    }


def card_markdown(card: Card) -> str:
    """The whole card."""
    counts = [(side, *(n[c] for c in card.classes)) for side, n in card.dataset.counts.items()]
    title = f"{card.name}, version {card.version}" if card.version else f"{card.name}, candidate"
    variants = [
        (name, v.file, f"{v.bytes / 1e6:.1f} MB", f"{v.temperature:.3f}", v.reason or "admitted")
        for name, v in card.variants.items()
    ]
    return (
        "\n\n".join(
            [
                f"# {title}",
                f"Tells {', '.join(card.classes)} apart. Made {card.created_at} by run `{card.run}`, "
                f"code `{card.code_version}`.",
                f"## How good it is\n\n{metrics_markdown(card)}",
                f"## Why it was let through\n\n{verdict_markdown(card.verdict)}",
                "## Limits\n\n" + "\n".join(f"- {limit}" for limit in card.limits),
                f"## Data\n\nDataset version `{card.dataset.id}` from "
                + ", ".join(f"`{source}`" for source in card.dataset.sources)
                + "\n\n"
                + table(("photos", *card.classes), counts),
                f"## How it was made\n\n{card.backbone_because}. Weights: {card.weights}. Input "
                f"{card.image_size} x {card.image_size}, {card.resize}. Seed {card.recipe.get('seed')}.",
                "## Files\n\n" + table(("variant", "file", "size", "temperature", "serves"), variants),
            ]
        )
        + "\n"
    )
