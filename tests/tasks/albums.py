"""Small photos and folders of them, made for tests: quick to draw, and no two alike."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pawloop.problem import Problem
from tasks.collect import collect
from tasks.curate import Curated, curate
from tasks.manifest import Dataset
from tasks.split import split


def picture(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """Soft blots of colour; another seed, another picture."""
    blots = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC)


def photo(seed: int, size: tuple[int, int] = (96, 72), format: str = "JPEG", **options: Any) -> bytes:
    """Bytes of a picture."""
    stream = io.BytesIO()
    picture(seed, size).save(stream, format, **options)
    return stream.getvalue()


def album(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 8, seed: int = 0) -> Path:
    """A folder per class with `each` photos in it."""
    for number, label in enumerate(classes):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for index in range(each):
            (folder / label / f"{label}{index:03d}.jpg").write_bytes(photo(seed + 1000 * number + index))
    return folder


def problem(*sources: Path | str, classes: tuple[str, ...] = ("cat", "dog"), **data: Any) -> Problem:
    """A problem about these sources; other keys of [data] by name."""
    return Problem.model_validate(
        {"name": "test", "classes": classes, "data": {"sources": [str(s) for s in sources], **data}}
    )


def curated(about: Problem, store: Path) -> Curated:
    return curate(collect(about, store).path, about, store)


def made(about: Problem, store: Path) -> Dataset:
    """The version that these stages make."""
    return split(curated(about, store).path, about, store)


def verdicts(dataset: Dataset) -> dict[str, str]:
    """What became of each file, by its name in its source."""
    rows = dataset.rows(["name", "verdict"]).to_pylist()
    return {row["name"]: row["verdict"] for row in rows}


def reasons(dataset: Dataset) -> dict[str, str]:
    """Why each file was set aside, by its name in its source."""
    rows = dataset.rows(["name", "reason"]).to_pylist()
    return {row["name"]: row["reason"] for row in rows}
