"""A version as plain folders, so that nobody is locked in.

Knows a version and a target folder. Collecting that folder again gives the same photos; by another id where
their private tags were taken out on import.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from pawloop.errors import DatasetError
from tasks.manifest import SIDES, Dataset
from tasks.photos import suffix_of


def take_out(
    dataset: Dataset,
    folder: Path,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    by_side: bool = False,
) -> int:
    """Copy every photo that a version keeps to `folder/class/id.ext`; returns how many.

    by_side: below `train`, `validation` and `test` instead, which collecting takes as sides again.
    Raises DatasetError for a folder that holds something, and for a photo that changed or vanished; the
    folder is then empty.
    """
    if folder.exists() and any(path.name != ".draft" for path in folder.iterdir()):
        raise DatasetError(f"{folder}: holds files already; name an empty or a new folder")
    draft = folder / ".draft"
    try:
        draft.mkdir(parents=True, exist_ok=True)
        count = _copied(dataset, draft, on_progress, by_side)
        for part in draft.iterdir():
            part.replace(folder / part.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return count


def _copied(
    dataset: Dataset, folder: Path, on_progress: Callable[[int, int], None] | None, by_side: bool
) -> int:
    photos = [photo for side in SIDES for photo in dataset.photos(side)]
    for done, photo in enumerate(photos, start=1):
        content = dataset.read(photo)
        home = folder / photo.side if by_side else folder
        target = home / photo.label / f"{photo.id}{suffix_of(photo.location, content)}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if on_progress is not None:
            on_progress(done, len(photos))
    return len(photos)
