"""Plots as PNG bytes, small enough to stand inline in an artifact.

Knows numbers and drawing. Knows nothing about where they are shown.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from tasks.curves import precision_recall, risk_by_coverage, roc
from tasks.evaluate import Bin, Evaluation
from tasks.fonts import families
from tasks.intervals import wilson_all
from tasks.robustness import Robustness

rcParams["font.family"] = list(families())
rcParams["text.parse_math"] = False  # names of classes may hold dollars

_DPI = 80
_COLOURS = ("#c2511c", "#4477aa", "#228833", "#aa3377", "#ccbb44", "#66ccee")
_NAMED_CURVES = len(_COLOURS)
_NAMED_CLASSES = 40
_ACCENT, _QUIET = "#c2511c", "#8a8178"


def inline(picture: bytes, title: str) -> str:
    """A PNG or JPEG as a Markdown image that needs no other file."""
    kind = "jpeg" if picture.startswith(b"\xff\xd8") else "png"
    return f"![{title}](data:image/{kind};base64,{base64.b64encode(picture).decode()})"


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> bytes:
    """True class by answered class, counts, coloured by share of the true class."""
    counts = np.asarray(matrix)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(7.0, 2.0 + 0.45 * len(classes))
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Oranges", vmin=0, vmax=1)
    ticks = range(len(classes))
    axes.set(xlabel="answered", ylabel="true class")
    if len(classes) > _NAMED_CLASSES:  # neither names nor counts could be read
        axes.set(xticks=[], yticks=[])
        return png(figure)
    names = [shortened(name) for name in classes]
    axes.set_yticks(ticks, names)
    if len(classes) > 2:
        axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(ticks, names)
    for row, column in np.argwhere(counts > 0):
        colour = "white" if share[row, column] > 0.6 else "black"
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour)
    return png(figure)


def reliability(bins: Sequence[Bin]) -> bytes:
    """How often answers of a stated confidence are right, with the band that chance alone gives."""
    figure = Figure(figsize=(3.6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=1)
    x = [b.confidence for b in bins]
    axes.fill_between(x, [b.low for b in bins], [b.high for b in bins], color=_QUIET, alpha=0.25)
    axes.plot(x, [b.accuracy for b in bins], marker="o", color=_ACCENT)
    axes.set(xlabel="stated confidence", ylabel="share that was right", ylim=(0, 1.03))
    axes.set_xlim(min([0.45, *x]), 1.01)
    return png(figure)


def penalties(tried: Sequence[Mapping[str, float]]) -> bytes:
    """Log-loss of the head by its penalty: too small learns by heart, too large learns nothing."""
    figure = Figure(figsize=(3.6, 2.6), layout="constrained")
    axes = figure.add_subplot()
    strengths = [one["l2"] for one in tried]
    axes.semilogx(strengths, [one["train_loss"] for one in tried], color=_QUIET, label="training")
    axes.semilogx(strengths, [one["validation_loss"] for one in tried], color=_ACCENT, label="validation")
    axes.set(xlabel="penalty (L2)", ylabel="log-loss", ylim=(0, None))
    axes.legend(fontsize="small", frameon=False)
    return png(figure)


def coverage(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> bytes:
    """Error among the photos answered, if only the surest share of them were, with its 95 % band."""
    risk = risk_by_coverage(probabilities, labels)
    answered = np.arange(1, len(labels) + 1)
    band = wilson_all(risk.y * answered, answered)  # [N, 2]
    whole = band[len(band) // 2 :]
    figure = Figure(figsize=(3.6, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(risk.x, band[:, 0], band[:, 1], color=_QUIET, alpha=0.25, linewidth=0)
    axes.plot(risk.x, risk.y, color=_ACCENT)
    # Of the first few photos alone nothing is known: their band would hide the rest.
    top = 1.15 * max(float(whole.max()), float(risk.y.max()), 0.01)
    axes.set(xlabel="share of photos answered", ylabel="error among them", xlim=(0, 1), ylim=(0, min(1, top)))
    return png(figure)


def one_against_all(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], evaluation: Evaluation
) -> bytes:
    """ROC and precision-recall curves of each class; of many, those of the smallest area are named."""
    tested = {name: one for name, one in evaluation.classes.items() if one.roc_auc is not None}
    named = sorted(tested, key=lambda name: tested[name].average_precision or 0)[:_NAMED_CURVES]
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, name in enumerate(evaluation.classes):
        if name not in tested:
            continue
        scores, is_class = probabilities[:, place], labels == place
        style = {"color": _QUIET, "linewidth": 0.6, "alpha": 0.5}
        if name in named:
            style = {"color": _COLOURS[named.index(name)], "linewidth": 1.5, "alpha": 1.0}
        areas = ("", "")
        if name in named:
            one = tested[name]
            known = in_legend(shortened(name))
            areas = (f"{known} {one.roc_auc:.3f}", f"{known} {one.average_precision:.3f}")
        left.plot(*roc(scores, is_class), label=areas[0], **style)
        right.plot(*precision_recall(scores, is_class), label=areas[1], drawstyle="steps-pre", **style)
    left.set(xlabel="share of others taken for it", ylabel="recall", title="ROC (area)")
    right.set(xlabel="recall", ylabel="precision", title="Precision and recall (average precision)")
    for axes in (left, right):
        axes.set(xlim=(-0.02, 1.02), ylim=(0, 1.03))
        axes.title.set_fontsize("medium")
        if named:
            axes.legend(fontsize="small", frameon=False, loc="lower left" if axes is right else "lower right")
    return png(figure)


def robustness(found: Robustness) -> bytes:
    """Accuracy and expected cost by strength, one panel a kind, with their 95 % bands."""
    figure = Figure(figsize=(9.2, 4.0))  # laid out by hand: finding a layout takes half a second here
    figure.subplots_adjust(left=0.065, right=0.99, top=0.93, bottom=0.12, wspace=0.12, hspace=0.2)
    panels = figure.subplots(2, len(found.kinds), sharey="row")
    for column, kind in enumerate(found.kinds):
        points = [(kind.unharmed, found.clean), *((one.strength, one) for one in kind.strengths)]
        points.sort(key=lambda point: point[0])
        x = [strength for strength, _ in points]
        for row, number in enumerate(("accuracy", "expected_cost")):
            axes = panels[row, column]
            ends = np.array([getattr(one, f"{number}_interval") for _, one in points])
            axes.fill_between(x, ends[:, 0], ends[:, 1], color=_QUIET, alpha=0.25, linewidth=0)
            axes.plot(x, [getattr(one, number) for _, one in points], marker=".", color=_ACCENT)
            axes.axhline(getattr(found.clean, number), color=_QUIET, linewidth=0.8, linestyle=":")
            axes.tick_params(labelsize=8)
            if kind.unharmed > max(one.strength for one in kind.strengths):
                axes.invert_xaxis()  # harm grows to the right
        panels[0, column].set_title(kind.name, fontsize=10)
        panels[1, column].set_xlabel(kind.unit, fontsize=8)
    panels[0, 0].set(ylabel="accuracy", ylim=(0, 1.03))
    panels[1, 0].set(ylabel="expected cost", ylim=(0, None))
    return png(figure)


def curves(curve: Mapping[str, Sequence[float]]) -> bytes | None:
    """Loss and accuracy by epoch of fine-tuning; None when there was none."""
    if not curve["train_loss"]:
        return None
    figure = Figure(figsize=(5.6, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = range(1, len(curve["train_loss"]) + 1)
    left.plot(epochs, curve["train_loss"], color=_QUIET, label="training (smoothed labels)")
    left.plot(epochs, curve["validation_loss"], color=_ACCENT, label="validation")
    left.set(xlabel="epoch", ylabel="log-loss", ylim=(0, None))
    left.legend(fontsize="small", frameon=False)
    right.plot(epochs, curve["validation_accuracy"], color=_ACCENT)
    right.set(xlabel="epoch", ylabel="validation accuracy")
    return png(figure)


def in_legend(name: str) -> str:
    """A name as a legend shows it, which leaves out what begins with an underscore."""
    return f" {name}" if name.startswith("_") else name


def shortened(name: str, most: int = 24) -> str:
    """A name of so many letters at most, its beginning and its end."""
    half = most // 2
    return name if len(name) <= most else f"{name[: half - 1]}…{name[1 - half :]}"


def png(figure: Figure) -> bytes:
    """A figure as a small PNG, of 64 colours."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    image = Image.open(buffer).convert("RGB").quantize(64)
    small = io.BytesIO()
    image.save(small, "PNG", optimize=True)
    return small.getvalue()
