"""Plots as PNG bytes, small enough to stand inline in an artifact.

Knows numbers and drawing. Knows nothing about where they are shown.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pawloop.image import upright
from tasks.evaluate import Bin
from tasks.manifest import Dataset
from tasks.variants import Judged

_DPI = 80
_TILE = 116
_CAPTION = 30
_ACCENT, _QUIET = "#c2511c", "#8a8178"


def inline(png: bytes, title: str) -> str:
    """A PNG as a Markdown image that needs no other file."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> bytes:
    """True class by answered class, counts, coloured by share of the true class."""
    counts = np.asarray(matrix)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(7.0, 2.0 + 0.45 * len(classes))
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Oranges", vmin=0, vmax=1)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=45 if len(classes) > 2 else 0, ha="center")
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="answered", ylabel="true class")
    for row, column in np.argwhere(counts > 0):
        colour = "white" if share[row, column] > 0.6 else "black"
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour)
    return _png(figure)


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
    return _png(figure)


def penalties(tried: Sequence[Mapping[str, float]]) -> bytes:
    """Log-loss of the head by its penalty: too small learns by heart, too large learns nothing."""
    figure = Figure(figsize=(3.6, 2.6), layout="constrained")
    axes = figure.add_subplot()
    strengths = [one["l2"] for one in tried]
    axes.semilogx(strengths, [one["train_loss"] for one in tried], color=_QUIET, label="training")
    axes.semilogx(strengths, [one["validation_loss"] for one in tried], color=_ACCENT, label="validation")
    axes.set(xlabel="penalty (L2)", ylabel="log-loss", ylim=(0, None))
    axes.legend(fontsize="small", frameon=False)
    return _png(figure)


def coverage(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> bytes:
    """Error among the photos answered, if only the surest share of them were."""
    wrong = (probabilities.argmax(axis=1) != labels)[np.argsort(-probabilities.max(axis=1), kind="stable")]
    answered = np.arange(1, len(wrong) + 1)
    figure = Figure(figsize=(3.6, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(answered / len(wrong), np.cumsum(wrong) / answered, color=_ACCENT)
    axes.set(xlabel="share of photos answered", ylabel="error among them", xlim=(0, 1), ylim=(0, None))
    return _png(figure)


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
    return _png(figure)


def worst_mistakes(judged: Judged, classes: Sequence[str], dataset: Dataset, count: int = 8) -> bytes | None:
    """Contact sheet of the most confidently wrong test photos; None when nothing was wrong."""
    photos, labels = dataset.photos("test"), judged.labels()
    probabilities = judged.answers().probabilities
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-confidence[wrong])][:count]
    if len(wrong) == 0:
        return None
    tiles = []
    for row in wrong:
        tile = Image.new("RGB", (_TILE, _TILE + _CAPTION), "white")
        photo = upright(dataset.read(photos[row]), _TILE)
        tile.paste(photo, ((_TILE - photo.width) // 2, (_TILE - photo.height) // 2))
        said = f"{classes[predicted[row]]} {confidence[row]:.0%}"
        ImageDraw.Draw(tile).text((3, _TILE + 1), f"said {said}\nis {classes[labels[row]]}", fill="black")
        tiles.append(np.asarray(tile))
    return _sheet(tiles, columns=min(4, len(tiles)))


def _sheet(tiles: Sequence[NDArray[np.uint8]], columns: int) -> bytes:
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (width + 4), rows * (height + 4)), "white")
    for index, tile in enumerate(tiles):
        place = (index % columns * (width + 4), index // columns * (height + 4))
        sheet.paste(Image.fromarray(tile), place)
    buffer = io.BytesIO()
    sheet.quantize(96).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    image = Image.open(buffer).convert("RGB").quantize(64)
    small = io.BytesIO()
    image.save(small, "PNG", optimize=True)
    return small.getvalue()
