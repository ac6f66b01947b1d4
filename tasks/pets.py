"""`oxford-iiit-pet`: the Oxford-IIIT Pet photos, fetched by torchvision.

Knows their layout: a breed in each file's name, and a list that says cat or dog.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pawloop.errors import UnreachableSourceError
from tasks import seen
from tasks.offer import Listing, Offer
from tasks.store import store_errors

_SPECIES = {"1": "cat", "2": "dog"}


def listing(_source: str, classes: Sequence[str], store: Path) -> Listing:
    """Photos by species where the problem's classes are cat and dog, else by breed ("Maine Coon").

    Raises SourceError when they cannot be fetched.
    """
    root = store / "cache" / "oxford-iiit-pet"
    with store_errors(store):
        root.mkdir(parents=True, exist_ok=True)
    photos = _fetched(root)
    offers = list(_offers(photos, classes))
    return Listing(str(photos.absolute()), ["cat", "dog"], len(offers), iter(offers))


def _fetched(root: Path) -> Path:
    folder = root / "oxford-iiit-pet"
    if not (folder / "annotations" / "list.txt").exists():
        from export.vision import torchvision  # seconds to import, and only needed to download

        try:
            torchvision.datasets.OxfordIIITPet(str(root), download=True)
        except (OSError, RuntimeError) as error:
            raise UnreachableSourceError(
                f"oxford-iiit-pet: the photos cannot be fetched: {error}; check the network, or download "
                "images.tar.gz and annotations.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/pets/ "
                f"and unpack them in {folder}"
            ) from None
    return folder


def _offers(folder: Path, classes: Sequence[str]) -> Iterator[Offer]:
    for line in (folder / "annotations" / "list.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, _, species, _ = line.split()
        breed = name.rpartition("_")[0].replace("_", " ").title()
        label = next((label for label in (_SPECIES[species], breed) if label in classes), None)
        path = folder / "images" / f"{name}.jpg"
        if label is not None and path.exists():
            yield Offer(f"{name}.jpg", label, path.read_bytes, seen.stamp(path.stat()), str(path))
