"""Explore: what a version of the photos looks like, as one page and as a summary for an artifact.

Knows what is worth showing, in which order. Knows nothing about how a page is laid out (see `report`),
how sheets are made (see `sheets`) or who reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pawloop import durable
from pawloop.problem import Problem
from tasks import charts, doubts, history, report, sheets
from tasks.atlas import atlas
from tasks.cardtext import plain
from tasks.manifest import KEPT, SIDES, STATISTICS, Dataset
from tasks.report import Section
from tasks.shortcuts import Shortcut, shortcut
from tasks.verdict import TWIN

_MOST_SHEETS: Final = 100
_SHEET_PHOTOS: Final = 800  # on all sheets of classes together: keeps the page below 5 MB
_SUMMARY_CLASSES: Final = 8
_SUMMARY_BYTES: Final = 200_000


@dataclass(frozen=True)
class Report:
    """html: a page that needs no other file. markdown: its summary, pictures inside, for an artifact.

    doubt: what to do about labels that are held for wrong; empty where none is.
    """

    html: Path
    markdown: str
    doubt: str


def explore(
    dataset: Dataset,
    problem: Problem,
    before: Dataset | None,
    embeddings: NDArray[np.floating] | None = None,
) -> Report:
    """Write the report of a version into its folder.

    embeddings: [N, D] of all photos that were kept, in the order of their ids; they add a map, outliers and
    suspected labels.
    """
    rows = dataset.rows()
    kept = rows.filter(pc.equal(rows["verdict"], KEPT))
    labels = np.array(kept["label"].to_pylist(), str)
    statistics = {name: kept[name].to_numpy() for name in STATISTICS}
    finding = shortcut(statistics, labels)
    curves = charts.histograms(statistics, labels, problem.classes)
    sections = [
        Section("Photos", _counts(dataset, problem) + report.listed(dataset.facts()["notes"])),
        Section("Compared with the version before", history.compared(dataset, before)),
        Section("Statistics by class", _statistics(finding, curves)),
        Section("Photos of each class", _class_sheets(dataset, problem, kept)),
        Section("Set aside, and why", "".join(_set_aside(dataset, rows))),
        Section("Near duplicates", _twins(dataset, rows)),
    ]
    suspected = None if embeddings is None else doubts.listed(dataset, kept, embeddings, labels)
    if suspected is not None:
        sections.insert(1, Section("Suspected wrong labels", doubts.html(dataset, kept, suspected)))
    if embeddings is not None and (found := atlas(embeddings)) is not None:
        drawn = charts.map_of_photos(dataset, kept, found, problem.classes)
        sections.append(Section("Map of the photos", drawn))
        alone = sheets.sheet(dataset, _places(kept.take(found.outliers)), 96, 8)
        sections.append(Section("Unlike all others", report.figure(sheets.jpeg_url(alone), "Outliers")))
    path = dataset.folder / "report.html"
    durable.write_bytes(path, report.page(f"{dataset.name}: photos {dataset.id}", sections).encode())
    summary = _markdown(dataset, problem, kept, finding, curves)
    if suspected is not None:
        summary += doubts.markdown(dataset, kept, suspected, _SUMMARY_BYTES - len(summary.encode()))
    is_doubted = any(one.is_confident for one in suspected or ())
    return Report(
        path, summary, doubts.sentence(dataset, kept, suspected) if suspected and is_doubted else ""
    )


def _counts(dataset: Dataset, problem: Problem) -> str:
    return report.table(*_count_table(dataset, problem))


def _count_table(dataset: Dataset, problem: Problem) -> tuple[list[str], list[list[object]]]:
    counts = dataset.counts()
    rows: list[list[object]] = [
        [label, *(counts[side][label] for side in SIDES), sum(counts[side][label] for side in SIDES)]
        for label in problem.classes
    ]
    totals = [sum(counts[side].values()) for side in SIDES]
    return ["class", *SIDES, "all"], [*rows, ["all", *totals, sum(totals)]]


def _statistics(finding: Shortcut | None, curves: str) -> str:
    picture = report.figure(curves, "Each statistic by class")
    if finding is None:
        return picture + report.paragraph("Too few photos a class to ask what the statistics give away.")
    rows = [[name, f"{share:.0%}"] for name, share in finding.relation.items()]
    explained = report.table(["statistic", "of its variance explained by the class"], rows)
    return picture + report.paragraph(finding.sentence) + explained


def _class_sheets(dataset: Dataset, problem: Problem, kept: pa.Table) -> str:
    shown = problem.classes[:_MOST_SHEETS]
    each = min(24, max(4, _SHEET_PHOTOS // len(shown)))
    figures = [
        report.figure(sheets.jpeg_url(sheets.sheet(dataset, places, 96, 8)), label)
        for label in shown
        if (places := _places(kept.filter(pc.equal(kept["label"], label)).slice(0, each)))
    ]
    left_out = len(problem.classes) - len(shown)
    return "".join(figures) + (
        report.paragraph(f"{left_out} more classes are not shown.") if left_out else ""
    )


def _set_aside(dataset: Dataset, rows: pa.Table) -> Iterator[str]:
    reasons = dataset.facts()["set_aside"]
    if not reasons:
        yield report.paragraph("Nothing was set aside.")
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        some = rows.filter(pc.equal(rows["verdict"], reason)).slice(0, 16)
        yield f"<h3>{reason}: {count:,}</h3>"
        if pc.max(some["width"]).as_py():  # it could be decoded, so it can be shown
            yield report.figure(sheets.jpeg_url(sheets.sheet(dataset, _places(some), 64, 16)), reason)
        yield report.table(["file", "why"], zip(some["name"].to_pylist(), some["reason"].to_pylist()))


def _twins(dataset: Dataset, rows: pa.Table) -> str:
    some = rows.filter(pc.equal(rows["verdict"], TWIN)).slice(0, 24)
    if not len(some):
        return report.paragraph("None was found.")
    by_id = rows.filter(pc.is_in(rows["id"], some["twin_of"].combine_chunks()))
    places = dict(zip(by_id["id"].to_pylist(), _places(by_id)))
    pairs = [
        place
        for place, twin in zip(_places(some), some["twin_of"].to_pylist())
        for place in (place, places[twin])
    ]
    picture = sheets.sheet(dataset, pairs, 96, 8)
    return report.figure(sheets.jpeg_url(picture), "Each photo set aside, and beside it the one that stays")


def _places(rows: pa.Table) -> list[tuple[str, str]]:
    return list(zip(rows["location"].to_pylist(), rows["stored"].to_pylist()))


def _markdown(
    dataset: Dataset, problem: Problem, kept: pa.Table, finding: Shortcut | None, curves: str
) -> str:
    """The summary, its sheets left out from the last where it would become too large."""
    aside = dataset.facts()["set_aside"]
    parts = [
        f"# Photos {dataset.id}",
        report.markdown_table(*_count_table(dataset, problem)),
        "Set aside: " + (", ".join(f"{count:,} {reason}" for reason, count in aside.items()) or "none") + ".",
        *(f"- {plain(note)}" for note in dataset.facts()["notes"][:10]),
        finding.sentence if finding else "",
        f"![Each statistic by class]({curves})",
    ]
    for label in problem.classes[:_SUMMARY_CLASSES]:
        places = _places(kept.filter(pc.equal(kept["label"], label)).slice(0, 12))
        url = sheets.png_url(sheets.sheet(dataset, places, 64, 12))
        parts.append(f"**{plain(label)}**\n\n![{plain(label)}]({url})")
        if sum(len(part.encode()) + 2 for part in parts) > _SUMMARY_BYTES:
            parts.pop()
            break
    return "\n\n".join(part for part in parts if part)
