"""Real photos with planted trouble: what is wrong is found, and what is right stays."""

from __future__ import annotations

import io
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pawloop import settings
from pawloop.problem import Problem
from tasks import extractors, recipe, weights
from tasks.suspects import suspects
from tests.tasks.albums import made, problem, verdicts

COUNT = 500


def changed(content: bytes, how: int) -> bytes:
    """The photo smaller, cropped by 2 %, or compressed again."""
    photo = Image.open(io.BytesIO(content)).convert("RGB")
    width, height = photo.size
    if how == 0:
        photo = photo.resize((width * 3 // 4, height * 3 // 4), Image.Resampling.LANCZOS)
    if how == 1:
        left, top = round(width / 100), round(height / 100)
        photo = photo.crop((left, top, width - left, height - top))
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=50 if how == 2 else 90)
    return stream.getvalue()


def real_pets() -> Path:
    pets = settings.load().test_data.absolute() / "pets"
    if not pets.exists():
        pytest.skip(f"{pets} is not there (PAWLOOP_TEST_DATA)")
    return pets


@pytest.mark.photos
def test_planted_trouble_is_found_and_good_photos_stay(tmp_path: Path) -> None:
    pets = real_pets()
    chance = random.Random(0)
    photos = chance.sample(sorted(pets.glob("*/*.jpg")), COUNT)
    for path in photos:
        (tmp_path / "photos" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / path.parent.name / path.name).write_bytes(path.read_bytes())
    planted = chance.sample(photos, 110)

    def plant(path: Path, what: str, content: bytes) -> None:
        (tmp_path / "photos" / path.parent.name / f"{what}-{path.name}").write_bytes(content)

    for path in planted[:10]:
        plant(path, "copy", path.read_bytes())
    for number, path in enumerate(planted[10:100]):
        plant(path, "near", changed(path.read_bytes(), number % 3))
    for path in planted[100:]:
        plant(path, "broken", path.read_bytes()[: path.stat().st_size // 2])

    dataset = made(problem(tmp_path / "photos"), tmp_path / "store")

    found = Counter(verdicts(dataset).values())
    assert found["exact duplicate"] == 10
    assert found["truncated"] + found["unreadable"] == 10
    assert found["near duplicate"] >= 0.95 * 90
    assert found["kept"] >= COUNT * 0.995


@pytest.mark.photos
def test_swapped_labels_stand_among_the_first_two_percent_of_the_suspects(tmp_path: Path) -> None:
    chance = random.Random(1)
    photos = chance.sample(sorted(real_pets().glob("*/*.jpg")), COUNT)
    swapped = set(photos[: COUNT // 100])
    for path in photos:
        label = {"cat": "dog", "dog": "cat"}[path.parent.name] if path in swapped else path.parent.name
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / label / path.name).write_bytes(path.read_bytes())
    value = problem(tmp_path / "photos").model_dump(by_alias=True)
    value["model"] = {"backbone": "efficientnet_lite0", "image_size": 128}
    about = Problem.model_validate(value)
    dataset = made(about, tmp_path / "store")
    pretrained = weights.pretrained(about, tmp_path / "store")

    embeddings = extractors.embeddings(dataset, recipe.plan(about, [pretrained], 0).nets[0], pretrained)

    assert embeddings is not None
    rows = dataset.kept(["name", "label"])
    names = rows["name"].to_pylist()
    found = suspects(embeddings, np.array(rows["label"].to_pylist(), str))[: COUNT // 50]
    planted = {path.name for path in swapped}
    assert sum(names[one.row].rpartition("/")[2] in planted for one in found) >= 0.8 * len(swapped)
