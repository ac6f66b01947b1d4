"""A judged candidate in milliseconds: the mean-colour model on albums of colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

from pawloop.card import Precision, Variant
from pawloop.image import Resize
from pawloop.problem import Problem
from tasks import variants
from tasks.candidate import Candidate
from tasks.manifest import Dataset
from tasks.variants import Judged
from tests import published
from tests.tasks import albums


def problem(folder: Path, **sections: Any) -> Problem:  # Any: keys of the problem file by section
    """Red cats and blue dogs, a few of which are mostly the other's colour."""
    rng = np.random.default_rng(0)
    for label, own, other in (("cat", (200, 40, 60), (60, 40, 200)), ("dog", (60, 40, 200), (200, 40, 60))):
        (folder / label).mkdir(parents=True)
        for number in range(60):
            tint = np.array(other if number % 10 == 0 else own)
            blots = (rng.integers(-55, 55, (6, 8, 3)) + tint).clip(0, 255).astype(np.uint8)
            Image.fromarray(blots).resize((96, 72), Image.Resampling.BICUBIC).save(
                folder / label / f"{number}.png"
            )
    about = albums.problem(folder)
    return Problem.model_validate(about.model_dump(by_alias=True) | sections)


def judged(about: Problem, store: Path) -> tuple[Candidate, Dataset, Judged]:
    """The mean-colour model's float32 file, judged on the test photos."""
    dataset = albums.made(about, store)
    folder = store / "runs" / "20260101-000000-aaaa" / "candidate"
    folder.mkdir(parents=True)
    onnx.save(published.graph(), str(folder / "model.onnx"))
    candidate = Candidate(folder, Resize(published.SIZE), parity=0.0)
    files: dict[Precision, Variant] = {"float32": variant()}
    found = variants.judge(candidate, files, dataset, about, lambda *_: None)
    return candidate, dataset, found["float32"]


def variant() -> Variant:
    return Variant(file="model.onnx", admitted=True, temperature=1.0, bytes=1, self_test=[])
