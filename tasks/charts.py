"""Charts of a version: histograms of its statistics, and its map.

Knows how numbers become pictures. Knows nothing about what they mean.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from tasks import sheets
from tasks.atlas import Atlas
from tasks.manifest import Dataset
from tasks.plots import in_legend, shortened

_COLOURS: Final = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#994f00", "#bbbbbb",
    "#332288", "#dd8452",
)  # fmt: skip
_MOST_CURVES: Final = 10
_SPRITE: Final = 32
_SPRITE_COLUMNS: Final = 50


def histograms(
    statistics: dict[str, NDArray[np.float32]], labels: NDArray[np.str_], classes: Sequence[str]
) -> str:
    """Each statistic's distribution by class, for the first ten classes, as a `data:` URL of a PNG."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots(2, -(-len(statistics) // 2), squeeze=False).ravel()
    for axis, (name, values) in zip(axes, statistics.items()):
        edges = np.histogram_bin_edges(values, 30) if len(values) else np.linspace(0, 1, 31)
        for label, colour in zip(classes[:_MOST_CURVES], _COLOURS):
            shares = np.histogram(values[labels == label], edges)[0] / max(1, int((labels == label).sum()))
            axis.stairs(shares, edges, color=colour, label=in_legend(shortened(label)))
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.set_yticks([])
    axes[0].legend(fontsize=7)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90)
    return sheets.png_url(Image.open(stream).convert("RGB"))


def map_of_photos(dataset: Dataset, kept: pa.Table, atlas: Atlas, classes: Sequence[str]) -> str:
    """HTML: a dot a photo, coloured by class; pointing at a dot shows its photo."""
    shown = kept.take(atlas.rows)
    places = list(zip(shown["location"].to_pylist(), shown["stored"].to_pylist()))
    sprite = sheets.jpeg_url(sheets.sheet(dataset, places, _SPRITE, _SPRITE_COLUMNS), quality=60)
    colour_of = {label: _COLOURS[number % len(_COLOURS)] for number, label in enumerate(classes)}
    dots = "".join(
        f'<circle cx="{10 + 780 * x:.1f}" cy="{10 + 480 * y:.1f}" r="4" fill="{colour_of[label]}" '
        f'data-n="{n}"><title>{escape(label)}: {escape(name)}</title></circle>'
        for n, ((x, y), label, name) in enumerate(
            zip(atlas.places.tolist(), shown["label"].to_pylist(), shown["name"].to_pylist())
        )
    )
    legend = " ".join(
        f'<span style="color:{colour}">&#9679; {escape(label)}</span>' for label, colour in colour_of.items()
    )
    return f'<p>{legend}</p><svg viewBox="0 0 800 500" id="map">{dots}</svg><div id="peek"></div>' + _peeking(
        sprite
    )


def _peeking(sprite: str) -> str:
    step = _SPRITE + sheets.GAP
    return (
        f"<style>#peek {{ position: fixed; width: {_SPRITE}px; height: {_SPRITE}px; pointer-events: none; "
        f"transform: scale(4); transform-origin: 0 0; background: url({sprite}); display: none; }}</style>"
        "<script>const peek = document.getElementById('peek');"
        "document.getElementById('map').addEventListener('pointermove', (event) => {"
        "const n = event.target.dataset.n; peek.style.display = n ? 'block' : 'none'; if (!n) return;"
        f"peek.style.backgroundPosition = `-${{n % {_SPRITE_COLUMNS} * {step}}}px "
        f"-${{Math.floor(n / {_SPRITE_COLUMNS}) * {step}}}px`;"
        "peek.style.left = `${event.clientX + 12}px`; peek.style.top = `${event.clientY + 12}px`;"
        "});</script>"
    )
