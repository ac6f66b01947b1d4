"""Sample photos: drawn cats and dogs, so that the loop can be tried without a download.

Says which files a sample holds, faults included, and writes them. Knows nothing about how an
animal is drawn (see `drawing`) or what becomes of the photos.
"""

import difflib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from numpy.random import SeedSequence

from tasks.sample.anatomy import Species
from tasks.sample.drawing import draw

__all__ = ["SampleSpec", "Species", "draw", "write"]


@dataclass(frozen=True)
class SampleSpec:
    """What a sample holds: `count` drawn photos, half of each species, and faults on purpose."""

    count: int = 400
    seed: int = 0
    broken: int = 0  # extra files that no reader can open
    duplicates: int = 0  # extra exact copies, in the class of their original
    wrong_labels: int = 0  # of the count, those put into the other class

    def __post_init__(self) -> None:
        for field in fields(self):
            number = getattr(self, field.name)
            if number < 0:
                raise ValueError(f"{field.name}={number} is negative; use 0 or more")
        if self.count < 2:
            raise ValueError(f"count={self.count} is too few for two classes; use 2 or more")
        if self.wrong_labels > self.count:
            raise ValueError(f"wrong_labels={self.wrong_labels} is more than count={self.count}; use fewer")

    @classmethod
    def from_url(cls, url: str) -> "SampleSpec":
        """The spec behind `sample://pets?count=400&seed=3&broken=5&duplicates=4&wrong_labels=2`.

        Raises ValueError that names the URL, what is wrong with it and what to write instead.
        """
        parts = urlsplit(url)
        if parts.scheme != "sample" or parts.netloc != "pets" or parts.path.strip("/"):
            raise ValueError(f'{url}: unknown sample; the only one is "sample://pets"')
        numbers: dict[str, int] = {}
        for key, text in parse_qsl(parts.query, keep_blank_values=True):
            if key in numbers:
                raise ValueError(f'{url}: "{key}" is given twice; keep one')
            numbers[_known(key, url)] = _whole(key, text, url)
        try:
            return cls(**numbers)
        except ValueError as error:
            raise ValueError(f"{url}: {error}") from None


def write(folder: Path, spec: SampleSpec, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Writes the sample to `folder/cat/*.jpg` and `folder/dog/*.jpg`.

    The same spec gives the same bytes on the same machine. A file that is there already is left
    as it is, so that an interrupted run goes on where it stopped. `on_progress` hears after each
    file how many of how many are done.
    """
    total = spec.count + spec.duplicates + spec.broken
    for label in LABELS:
        (folder / label).mkdir(parents=True, exist_ok=True)
    for done, (name, content) in enumerate(_files(folder, spec), start=1):
        if not (folder / name).exists():
            _write_aside(folder / name, content())
        if on_progress is not None:
            on_progress(done, total)
    os.sync()  # once for all: a sample can be drawn again, so a sync a file would buy nothing


LABELS: tuple[Species, ...] = get_args(Species)


def _known(key: str, url: str) -> str:
    known = [field.name for field in fields(SampleSpec)]
    if key in known:
        return key
    close = difflib.get_close_matches(key, known, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"known are {', '.join(known)}"
    raise ValueError(f'{url}: unknown key "{key}"; {hint}')


def _whole(key: str, text: str, url: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise ValueError(f'{url}: {key}="{text}" is not a whole number; write for example {key}=10')
    return int(text)


def _files(folder: Path, spec: SampleSpec) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Each file's name below the folder and how to make it; numbers never repeat in a sample."""
    chance = np.random.default_rng(SeedSequence([spec.seed, spec.count]))
    swapped = set(chance.permutation(spec.count)[: spec.wrong_labels].tolist())
    originals = chance.permutation(spec.count)

    def side(number: int) -> int:
        return (number + (number in swapped)) % 2

    def name(number: int, side: int) -> str:
        return f"{LABELS[side]}/{LABELS[side]}_{number:05d}.jpg"

    for number in range(spec.count):
        yield name(number, side(number)), partial(_photo, spec.seed, number)
    for extra in range(spec.duplicates):
        twin = int(originals[extra % spec.count])
        photo = folder / name(twin, side(twin))
        yield name(spec.count + extra, side(twin)), photo.read_bytes
    for extra in range(spec.broken):
        number = spec.count + spec.duplicates + extra
        yield name(number, extra % 2), partial(_broken, spec.seed, number, extra)


def _photo(seed: int, number: int) -> bytes:
    """A JPEG of the species whose turn it is, at a quality that varies like people's cameras."""
    # The third word keeps this number apart from those that the drawing uses.
    chance = np.random.default_rng(SeedSequence([seed, number, len(LABELS)]))
    quality = int(chance.integers(60, 96))
    stream = io.BytesIO()
    draw(LABELS[number % 2], seed, number).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _broken(seed: int, number: int, kind: int) -> bytes:
    """In turn: a JPEG cut off, a text under a photo's name, nothing at all."""
    if kind % 3 == 0:
        photo = _photo(seed, number)
        return photo[: len(photo) // 3]
    return b"this is a text, not a photo\n" if kind % 3 == 1 else b""


def _write_aside(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    aside.write_bytes(content)
    aside.replace(path)
