"""Which files of a collection stay, and for what reason the others are set aside.

Knows the rules of curation and their order: what is wrong with a photo itself, then what is wrong beside
others. Pure: from tables to tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa

from pawloop.problem import Problem
from tasks import near
from tasks.manifest import KEPT, STATISTICS
from tasks.measure import Measured

NO_LABEL: Final = "no label"
TWO_CLASSES: Final = "two classes"
COPY: Final = "exact duplicate"
TWIN: Final = "near duplicate"
# Grey levels of 255; the flattest of 3,431 real photos has a contrast of 15.
_BLANK: Final = 2.0


@dataclass(frozen=True)
class Rules:
    """What decides a verdict; part of a version's id."""

    smallest_side: int
    near_duplicates: int
    animated: Literal["set-aside", "first-frame"]
    revision: int = 1  # of this file's rules: another one makes other versions of the same photos

    @classmethod
    def of(cls, problem: Problem) -> Self:
        data = problem.data
        return cls(data.smallest_side, data.near_duplicates, data.animated)


class Verdict(NamedTuple):
    """verdict: "kept" or a reason in two words. reason: the sentence. twin_of: id of the photo that stays."""

    verdict: str = KEPT
    reason: str = ""
    twin_of: str | None = None


def judged(table: pa.Table, known: Mapping[str, Measured], rules: Rules, held: set[str]) -> pa.Table:
    """The table of found files with measurements, verdicts and reasons.

    known: the measurements of every photo in the table. held: the photos of the version before, which
    stay where a newcomer is their near twin.
    """
    ids, labels, names = (table.column(name).to_pylist() for name in ("id", "label", "name"))
    looks = [known[id] for id in ids]
    verdicts = [alone(look, label, rules) for look, label in zip(looks, labels, strict=True)]
    _set_contradictions_aside(verdicts, ids, labels, names)
    _set_copies_aside(verdicts, ids, names)
    _set_twins_aside(verdicts, ids, names, labels, looks, rules, held)
    return _with_columns(table, looks, verdicts)


def alone(look: Measured, label: str | None, rules: Rules) -> Verdict:
    """The verdict on a photo seen by itself."""
    if look.fault:
        is_cut = "truncated" in look.fault
        return Verdict("truncated" if is_cut else "unreadable", look.fault)
    if min(look.width, look.height) < rules.smallest_side:
        size = f"{look.width} x {look.height} pixels"
        return Verdict("too small", f"{size}; [data] smallest_side asks for {rules.smallest_side}")
    if look.contrast < _BLANK and look.colourfulness < _BLANK:
        return Verdict("blank", "all of it has one colour")
    if look.frames > 1 and rules.animated == "set-aside":
        return Verdict("animated", f'{look.frames} frames; [data] animated = "first-frame" keeps the first')
    if label is None:
        return Verdict(NO_LABEL, "it lies in no class folder; kept for labelling")
    return Verdict()


def _set_contradictions_aside(
    verdicts: list[Verdict], ids: list[str], labels: list[str | None], names: list[str]
) -> None:
    said: dict[str, dict[str, str]] = {}  # photo: class: one of its files
    for id, label, name in zip(ids, labels, names, strict=True):
        if label is not None:
            said.setdefault(id, {}).setdefault(label, name)
    for row, id in enumerate(ids):
        if verdicts[row].verdict == KEPT and len(said[id]) > 1:
            places = " and ".join(sorted(said[id].values()))
            verdicts[row] = Verdict(TWO_CLASSES, f"the same photo is {places}; delete the wrong one")


def _set_copies_aside(verdicts: list[Verdict], ids: list[str], names: list[str]) -> None:
    first: dict[str, int] = {}
    for row, id in enumerate(ids):
        if verdicts[row].verdict == KEPT and first.setdefault(id, row) != row:
            verdicts[row] = Verdict(COPY, f"the same file as {names[first[id]]}", id)


def _set_twins_aside(
    verdicts: list[Verdict],
    ids: list[str],
    names: list[str],
    labels: list[str | None],
    looks: list[Measured],
    rules: Rules,
    held: set[str],
) -> None:
    rows = [row for row, verdict in enumerate(verdicts) if verdict.verdict == KEPT]
    if not rules.near_duplicates or not rows:
        return
    # Those that may stay come first: what the version before held, then the smaller id.
    rows.sort(key=lambda row: (ids[row] not in held, ids[row]))
    hashes = np.array([looks[row].hash for row in rows], np.uint64)
    thumbs = np.frombuffer(b"".join(looks[row].thumb for row in rows), np.uint8).reshape(len(rows), -1)
    is_new = [ids[row] not in held for row in rows]
    found = (pair for pair in near.twins(hashes, thumbs, rules.near_duplicates).tolist() if is_new[pair[1]])
    for later, earlier in stepped_aside(found):
        row, other = rows[later], rows[earlier]
        label = "" if labels[row] == labels[other] else f', which is labelled "{labels[other]}"'
        verdicts[row] = Verdict(TWIN, f"nearly the same picture as {names[other]}{label}", ids[other])


def stepped_aside(pairs: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """Which rows give way to which, when the first of each pair goes before the second: (later, earlier).

    A row stays unless a row that stays itself is its twin, so bridging rows take nobody else with them.
    """
    twins_before: dict[int, list[int]] = {}
    for earlier, later in pairs:
        twins_before.setdefault(later, []).append(earlier)
    gone: dict[int, int] = {}
    for later in sorted(twins_before):
        staying = [earlier for earlier in sorted(twins_before[later]) if earlier not in gone]
        if staying:
            gone[later] = staying[0]
    return list(gone.items())


def _with_columns(table: pa.Table, looks: list[Measured], verdicts: list[Verdict]) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "width": pa.array([look.width for look in looks], pa.int32()),
        "height": pa.array([look.height for look in looks], pa.int32()),
        "format": pa.array([look.format for look in looks]),
        "frames": pa.array([look.frames for look in looks], pa.int32()),
        "hash": pa.array([look.hash for look in looks], pa.uint64()),
        **{name: pa.array([_statistic(look, name) for look in looks], pa.float32()) for name in STATISTICS},
        "verdict": pa.array([verdict.verdict for verdict in verdicts]),
        "reason": pa.array([verdict.reason for verdict in verdicts]),
        "twin_of": pa.array([verdict.twin_of for verdict in verdicts], pa.string()),
    }
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


def _statistic(look: Measured, name: str) -> float:
    if name == "aspect":
        return look.width / look.height if look.height else 0.0
    value: float = getattr(look, name)
    return value
