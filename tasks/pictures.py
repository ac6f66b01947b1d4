"""Sheets of test photos that were answered wrongly, as JPEG bytes small enough for an artifact.

Knows photos, captions and heat. Knows nothing about where the sheets are shown.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pawloop.image import upright
from tasks.fonts import font
from tasks.manifest import Dataset
from tasks.mistakes import worst
from tasks.occlusion import Occlusion
from tasks.plots import shortened
from tasks.variants import Judged

_TILE: Final = 120
_CAPTION: Final = 32
_HEADING: Final = 20
_GAP: Final = 4
_FONT_SIZE: Final = 10
_LINE: Final = 14
_QUALITY: Final = 72


def mistakes(
    judged: Judged, said: NDArray[np.integer], classes: Sequence[str], dataset: Dataset, count: int = 8
) -> bytes | None:
    """The most confidently wrong test photos; None when nothing was wrong. said: [N] answered classes."""
    rows = worst(judged.answers(), said, judged.labels(), count)
    return (
        _jpeg(_stacked([_strip(_tiles(judged, said, classes, dataset, rows), columns=4)])) if rows else None
    )


def mistakes_by_slice(
    judged: Judged,
    said: NDArray[np.integer],
    classes: Sequence[str],
    dataset: Dataset,
    rows: Mapping[str, Sequence[int]],
) -> bytes | None:
    """The mistakes `rows` of each slice, below its name; None without any."""
    parts = []
    for name, inside in rows.items():
        parts += [_heading(name), _strip(_tiles(judged, said, classes, dataset, inside), columns=4)]
    return _jpeg(_stacked(parts)) if parts else None


def occlusions(
    found: Sequence[Occlusion], classes: Sequence[str], labels: NDArray[np.integer]
) -> bytes | None:
    """Each photo as the model saw it beside the same under heat: where it looked; None without any.

    labels: [N] true classes of all test photos.
    """
    tiles = []
    for one in found:
        photo = Image.fromarray(one.image).resize((_TILE, _TILE), Image.Resampling.BILINEAR)
        said = _said(classes, one.label, one.probability, int(labels[one.row]))
        tiles += [_tile(photo, said), _tile(_heated(photo, one.drop), _told(one.drop))]
    return _jpeg(_stacked([_strip(tiles, columns=4)])) if tiles else None


def _tiles(
    judged: Judged,
    said: NDArray[np.integer],
    classes: Sequence[str],
    dataset: Dataset,
    rows: Sequence[int],
) -> list[Image.Image]:
    photos, labels, answers = dataset.photos("test"), judged.labels(), judged.answers()
    tiles = []
    for row in rows:
        label = int(said[row])
        caption = _said(classes, label, float(answers.probabilities[row, label]), int(labels[row]))
        tiles.append(_tile(upright(dataset.read(photos[row]), _TILE), caption))
    return tiles


def _said(classes: Sequence[str], label: int, probability: float, true: int) -> str:
    return f"{_fitted(f'{probability:.0%} ', classes[label])}\n{_fitted('is ', classes[true])}"


def _fitted(before: str, name: str) -> str:
    """As much of a name's beginning and end as a tile is wide."""
    most = len(name)
    letters = font(before + name, _FONT_SIZE)
    while letters.getlength(before + shortened(name, most)) > _TILE - 4 and most > 6:
        most -= 1
    return before + shortened(name, most)


def _told(drop: NDArray[np.floating]) -> str:
    largest = float(drop.max())
    return (
        f"covered: down by\nup to {largest:.0%}" if largest >= 0.005 else "no patch alone\nchanges the answer"
    )


def _heated(photo: Image.Image, drop: NDArray[np.floating]) -> Image.Image:
    """The photo under what its patches cost: dark where nothing, bright where most."""
    share = np.clip(drop, 0, None) / max(float(drop.max()), 0.005)
    heat = Image.fromarray((255 * share).astype(np.uint8)).resize(photo.size, Image.Resampling.BICUBIC)
    coloured = Image.fromarray((255 * colormaps["inferno"](np.asarray(heat))[..., :3]).astype(np.uint8))
    return Image.blend(photo.convert("L").convert("RGB"), coloured, 0.55)


def _tile(photo: Image.Image, caption: str) -> Image.Image:
    tile = Image.new("RGB", (_TILE, _TILE + _CAPTION), "white")
    tile.paste(photo, ((_TILE - photo.width) // 2, (_TILE - photo.height) // 2))
    for number, line in enumerate(caption.split("\n")):
        ImageDraw.Draw(tile).text((2, _TILE + 1 + number * _LINE), line, "black", font(line, _FONT_SIZE))
    return tile


def _heading(text: str) -> Image.Image:
    line = Image.new("RGB", (4 * (_TILE + _GAP), _HEADING), "white")
    ImageDraw.Draw(line).text((2, 2), text, "black", font(text, _FONT_SIZE))
    return line


def _strip(tiles: Sequence[Image.Image], columns: int) -> Image.Image:
    rows = -(-len(tiles) // columns)
    strip = Image.new("RGB", (min(columns, len(tiles)) * (_TILE + _GAP), rows * tiles[0].height), "white")
    for index, tile in enumerate(tiles):
        strip.paste(tile, (index % columns * (_TILE + _GAP), index // columns * tile.height))
    return strip


def _stacked(parts: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(p.width for p in parts), sum(p.height for p in parts)), "white")
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def _jpeg(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()
