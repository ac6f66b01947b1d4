"""Model cards and verdicts in words a person reads.

Knows cards and Markdown. Knows nothing about files. Cards of older versions lack some numbers, whose lines
are then left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pawloop.card import Card, Verdict
from pawloop.printable import some_of

Numbers = Mapping[str, Any]  # Any: numbers, intervals and tables as the card holds them

_MARK = {True: "✅ yes", False: "❌ no", None: "⚠️ told only"}
_MOST_COSTS = 10
_MOST_CONFUSED = 15
_MARKUP = str.maketrans({"\\": r"\\", "|": r"\|", "[": r"\[", "]": r"\]", "<": "&lt;", "\n": " "})
_MOST_ROWS = 60  # of one table, so that the card of a thousand classes stays a page


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; of very many rows the first."""
    lines = [header, ["---"] * len(header), *rows[:_MOST_ROWS]]
    text = "\n".join("| " + " | ".join(map(plain, row)) + " |" for row in lines)
    more = len(rows) - _MOST_ROWS
    return text + (f"\n\n{more} more are in `card.json`." if more > 0 else "")


def plain(said: object) -> str:
    """Words that others chose, on one line of Markdown: no table, link, picture or tag begins in them."""
    return str(said).translate(_MARKUP)


def candidates(training: Mapping[str, Any]) -> str:  # Any: names and numbers
    """The candidates of a training, side by side on validation photos."""
    rows = [
        (
            found["name"],
            found["backbone"],
            found["image_size"],
            found.get("crop_mode", "center"),
            f"{found['tuning']['rate']:g}" if found["tuning"] else "–",
            found["epochs"] or "–",
            f"{found['validation_accuracy']:.4f}",
            f"{found['validation_log_loss']:.4f}",
            f"{found['seconds']:.1f}",
        )
        for found in training["candidates"]
    ]
    header = (
        "candidate",
        "backbone",
        "input",
        "cut",
        "rate",
        "epochs",
        "validation accuracy",
        "log-loss",
        "seconds",
    )
    return table(header, rows) + (f"\n\n{training['note']}" if training.get("note") else "")


def verdict_markdown(verdict: Verdict) -> str:
    """The gate's verdict: a sentence and a line a bar."""
    rows = [(bar.name, bar.asked, bar.got, _MARK[bar.passed]) for bar in verdict.bars]
    text = f"**{plain(verdict.summary)}**\n\n" + table(("bar", "asked", "got", "passed"), rows)
    return text + (f"\n\nA person overruled it: {plain(verdict.despite)}" if verdict.despite else "")


def shadow_markdown(verdict: Verdict | None) -> str:
    """What live photos said beside the champion, below a card; empty where nothing was asked of them."""
    return f"\n## Beside the champion\n\n{verdict_markdown(verdict)}\n" if verdict else ""


def metrics_markdown(card: Card) -> str:
    """The numbers of every file of a version, a column each, with their 95 % intervals."""
    columns = [_numbers(metrics) for metrics in card.metrics.values()]
    rows = [(name, *(column.get(name, "") for column in columns)) for name in columns[0]]
    return table(("on test photos (95 % interval)", *card.metrics), rows)


def classes_markdown(metrics: Numbers) -> str:
    """Precision, recall and areas of each class against all others, the class of least recall first.

    Classes without a test photo come last, and have no recall.
    """
    order = sorted(metrics["classes"].items(), key=lambda item: (not item[1]["count"], item[1]["recall"]))
    rows = [
        (
            name,
            one["count"],
            _with_interval(one, "precision", 3),
            _with_interval(one, "recall", 3) if one["count"] else "–",
            _with_interval(one, "roc_auc", 3),
            _with_interval(one, "average_precision", 3),
        )
        for name, one in order
    ]
    return table(("class", "test photos", "precision", "recall", "ROC area", "average precision"), rows)


def confused_markdown(metrics: Numbers, classes: Sequence[str]) -> str:
    """The pairs of classes that are confused most often; empty for two classes, or where there are none."""
    counts = metrics["confusion"]
    pairs = [
        (count, true, answered)
        for true, row in enumerate(counts)
        for answered, count in enumerate(row)
        if count and true != answered
    ]
    if not pairs or len(classes) < 3:
        return ""
    rows = [
        (classes[true], classes[answered], count, f"{count / sum(counts[true]):.0%}")
        for count, true, answered in sorted(pairs, key=lambda one: -one[0])[:_MOST_CONFUSED]
    ]
    return table(("class", "answered", "test photos", "of the class"), rows)


def slices_markdown(metrics: Numbers) -> str:
    """Accuracy and expected cost of each kind of photo, the worst first; empty for an older card."""
    rows = [
        (
            f"⚠️ {one['name']}" if one["is_worse"] else one["name"],
            one["photos"],
            _with_interval(one, "accuracy", 3),
            _with_interval(one, "expected_cost", 3),
        )
        for one in metrics.get("slices", ())
    ]
    if not rows:
        return ""
    told = "\n\n⚠️ marks those whose whole interval lies below the accuracy on all test photos."
    return table(("slice", "test photos", "accuracy", "expected cost"), rows) + told


def robustness_markdown(metrics: Numbers) -> str:
    """Accuracy and expected cost at five strengths of each harm; empty for an older card."""
    found = metrics.get("robustness")
    if not found:
        return ""
    rows = [
        (
            f"{kind['name']} ({kind['unit']})",
            *(
                f"{one['strength']:g}: {one['accuracy']:.2f} / {one['expected_cost']:.2f}"
                for one in kind["strengths"]
            ),
        )
        for kind in found["kinds"]
    ]
    clean = found["clean"]
    whole = _with_interval(clean, "accuracy", 2)
    text = (
        f"Each cell says strength: accuracy / expected cost, on the same {found['photos']} test photos, "
        f"whose accuracy unharmed is {whole} at an expected cost of {clean['expected_cost']:.2f}.\n\n"
    )
    return text + table(("harm", "", "", "", "", ""), rows)


def card_markdown(card: Card) -> str:
    """The whole card."""
    title = f"{card.name}, version {card.version}" if card.version else f"{card.name}, candidate"
    float32 = card.metrics["float32"]
    sections = {
        "What it is for": plain(card.purpose or f"Tells {some_of(card.classes)} apart."),
        "Limits": "\n".join(f"- {plain(limit)}" for limit in card.limits),
        "How good it is": f"{metrics_markdown(card)}\n\n### By class\n\n{classes_markdown(float32)}",
        "Which classes it takes for others": confused_markdown(float32, card.classes),
        "By kind of photo": slices_markdown(float32),
        "When photos are harmed": robustness_markdown(float32),
        "The gate's verdict": verdict_markdown(card.verdict),
        "Data": _data(card),
        "How it was made": _making(card),
        "Files": _files(card),
    }
    made = f"Made {card.created_at} by run `{card.run}`."
    text = [f"# {title}", made, *(f"## {name}\n\n{said}" for name, said in sections.items() if said)]
    return "\n\n".join(text) + "\n"


def _numbers(m: Numbers) -> dict[str, str]:
    rows = {
        "photos": str(m["photos"]),
        "accuracy": _with_interval(m, "accuracy", 4),
        "balanced accuracy": _with_interval(m, "balanced_accuracy", 4),
        "expected cost": _with_interval(m, "expected_cost", 4),
        "asks a person": _with_interval(m, "abstained", 3),
        "log-loss": _with_interval(m, "log_loss", 4),
        "Brier score": _with_interval(m, "brier", 4),
        "calibration error": f"{m['ece']:.4f} (chance alone: up to {m['ece_by_chance']:.4f})",
        "area under coverage-risk curve": _with_interval(m, "aurc", 4),
    }
    for one in m.get("coverage", ()):
        rows[f"error among the surest {one['coverage']:.0%}"] = _with_interval(one, "error", 4)
    return rows


def _with_interval(numbers: Numbers, name: str, digits: int) -> str:
    if numbers.get(name) is None:
        return "–"
    said, interval = f"{numbers[name]:.{digits}f}", numbers.get(f"{name}_interval")
    return f"{said} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else said


def _data(card: Card) -> str:
    sources = [(s, card.dataset.licences.get(s, "not stated")) for s in card.dataset.sources]
    counts = [(name, *(side[name] for side in card.dataset.counts.values())) for name in card.classes]
    return (
        f"Dataset version `{card.dataset.id}`, a hash of its photos, classes and sides.\n\n"
        + table(("source", "licence"), sources)
        + "\n\n"
        + table(("photos", *card.dataset.counts), counts)
    )


def _making(card: Card) -> str:
    training = card.recipe.get("training", {})
    took = f"Training took {training['seconds']} s on {training['machine']}. " if training else ""
    told = ("training", "classes", "trials", "pinned")  # elsewhere on the card
    recipe = [(f"`{name}`", value) for name, value in card.recipe.items() if name not in told]
    raced = training.get("candidates")
    chosen = f"{_chosen(raced[0])}\n\n{candidates(training)}\n\n" if raced else ""
    allowed = table(("recipe", ""), recipe)
    return (
        f"{card.backbone_because}. Weights: {card.weights}. Input {card.image_size} x {card.image_size}, "
        f"{card.resize}. {took}{_costs(card)}\n\n{chosen}What the recipe allowed:\n\n{allowed}"
    )


def _chosen(one: Numbers) -> str:
    """How the network was trained that is the best on validation photos, and so this one."""
    if tuning := one["tuning"]:
        told = ", ".join(f"{name} {value}" for name, value in tuning.items())
        epochs = "1 epoch" if one["epochs"] == 1 else f"{one['epochs']} epochs"
        return f"Chosen on validation photos: a network fine-tuned for {epochs} ({told})."
    return "Chosen on validation photos: a linear head on features that were left as they came."


def _costs(card: Card) -> str:
    dear = [
        f"{true} taken for {answered} {cost:g}"
        for true, row in zip(card.classes, card.mistake_costs, strict=True)
        for answered, cost in zip(card.classes, row, strict=True)
        if true != answered and cost != 1
    ]
    but = f", but {plain(some_of(dear, most=_MOST_COSTS))}" if dear else ""
    return f"A mistake costs 1{but}; asking a person costs {card.ask_cost:g}."


def _files(card: Card) -> str:
    variants = [
        (
            name,
            v.file,
            f"{v.bytes / 1e6:.1f} MB",
            f"{v.temperature:.3f}",
            v.reason or "admitted",
            f"`{card.files[v.file]}`" if v.file in card.files else "–",
        )
        for name, v in card.variants.items()
    ]
    hashes = [
        ("code that decides what a training gives", card.code_version),
        ("dataset version", card.dataset.id),
        ("recipe, data and code together", card.recipe_key),
        ("weights it started from (SHA-256)", card.weights_sha256 or "–"),
    ]
    header = ("variant", "file", "size", "temperature", "serves", "SHA-256")
    return table(header, variants) + "\n\n" + table(("hash of", ""), [(n, f"`{h}`") for n, h in hashes])
