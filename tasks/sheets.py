"""Contact sheets: many small photos as one picture.

Knows pixels and places on a sheet. Knows nothing about why these photos.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image

from pawloop.errors import PawloopError
from pawloop.image import upright
from tasks.manifest import Dataset
from tasks.place import read_photo

GAP = 4
_PAPER = (245, 245, 245)


def sheet(dataset: Dataset, places: Sequence[tuple[str, str]], cell: int, columns: int) -> Image.Image:
    """Photos side by side, each fitted into a square of `cell` pixels; a grey one where it cannot be read.

    places: location and stored hash of each photo.
    """
    columns = min(columns, max(1, len(places)))
    rows = -(-len(places) // columns) or 1
    step = cell + GAP
    picture = Image.new("RGB", (columns * step - GAP, rows * step - GAP), _PAPER)
    for number, (location, stored) in enumerate(places):
        small = _small(dataset, location, stored, cell)
        left = number % columns * step + (cell - small.width) // 2
        top = number // columns * step + (cell - small.height) // 2
        picture.paste(small, (left, top))
    return picture


def jpeg_url(picture: Image.Image, quality: int = 70) -> str:
    """A picture as a `data:` URL for a page."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def png_url(picture: Image.Image, colours: int = 48) -> str:
    """A picture as a `data:` URL for an artifact; few colours, as artifacts must be small."""
    stream = io.BytesIO()
    picture.quantize(colours).save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _small(dataset: Dataset, location: str, stored: str, cell: int) -> Image.Image:
    try:
        return upright(read_photo(dataset.store, location, stored), cell)
    except PawloopError:
        return Image.new("RGB", (cell, cell), (200, 200, 200))  # the reason stands in the table beside it
