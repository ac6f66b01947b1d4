"""What a report says of labels that are probably wrong: the photos, and why they are doubted.

Knows a version and its suspects. Knows nothing about how a label comes to be doubted (see `suspects`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import report, sheets
from tasks.doubted import Suspect, keep
from tasks.manifest import Dataset
from tasks.suspects import suspects

_SHOWN: Final = 48
_SHOWN_IN_SUMMARY: Final = 12
_HEADER: Final = ("file", "labelled", "looks like", "fit of the label, 0 to 1", "")


def listed(
    dataset: Dataset, kept: pa.Table, embeddings: NDArray[np.floating], labels: NDArray[np.str_]
) -> list[Suspect]:
    """The suspects of a version, the worst first, noted in its folder for the next curation."""
    found = suspects(embeddings, labels)
    keep(dataset, found, kept["id"].to_pylist())
    return found


def html(dataset: Dataset, kept: pa.Table, found: Sequence[Suspect]) -> str:
    """A section of a page: how many, their photos, and a table."""
    if not found:
        return report.paragraph(sentence(dataset, kept, found))
    picture = sheets.sheet(dataset, _places(kept, found[:_SHOWN]), 96, 8)
    return (
        report.paragraph(sentence(dataset, kept, found))
        + report.figure(sheets.jpeg_url(picture), "The most doubtful labels, the worst first")
        + report.table(_HEADER, _rows(kept, found[:_SHOWN]))
    )


def markdown(dataset: Dataset, kept: pa.Table, found: Sequence[Suspect], room_bytes: int) -> str:
    """The same for an artifact, without the photos where they would not fit."""
    text = f"\n\n**Suspected wrong labels.** {sentence(dataset, kept, found)}"
    if not found:
        return text
    some = found[:_SHOWN_IN_SUMMARY]
    text += "\n\n" + report.markdown_table(_HEADER, _rows(kept, some))
    picture = sheets.png_url(sheets.sheet(dataset, _places(kept, some), 64, 12))
    drawn = f"\n\n![The most doubtful labels]({picture})"
    return text + (drawn if len((text + drawn).encode()) < room_bytes else "")


def sentence(dataset: Dataset, kept: pa.Table, found: Sequence[Suspect]) -> str:
    """How many there are, and what to do about them. Only photos to learn from are ever set aside."""
    if not found:
        return "None: every photo looks most like those of its own class."
    sides = [kept["side"][one.row].as_py() for one in found if one.is_confident]
    taught = sides.count("train")
    told = (
        f"{len(found):,} photos look more like another class than like their own; of {len(sides):,} the "
        "label is held for wrong (in classes that their other photos mostly find: the rest want more photos "
        "first). Move what is wrong into its right folder."
    )
    if taught:
        is_on = dataset.facts()["rules"]["wrong_labels"] == "set-aside"
        rule = "The next version leaves out" if is_on else '[data] wrong_labels = "set-aside" leaves out'
        told += f" {rule} the {taught:,} of them that were learnt from."
    if taught < len(sides):
        told += f" {len(sides) - taught:,} judge models until a person moves them."
    return told


def _rows(kept: pa.Table, found: Sequence[Suspect]) -> list[list[object]]:
    names = kept["name"]
    return [
        [names[s.row].as_py(), s.given, s.likely, s.quality, "held for wrong" if s.is_confident else ""]
        for s in found
    ]


def _places(kept: pa.Table, found: Sequence[Suspect]) -> list[tuple[str, str]]:
    rows = kept.take([one.row for one in found])
    return list(zip(rows["location"].to_pylist(), rows["stored"].to_pylist()))
