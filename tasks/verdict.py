"""Which files of a collection stay, and for what reason the others are set aside.

Knows the rules of curation and their order: what is wrong with a photo itself, then what is wrong beside
others. Pure: from tables to tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pawloop.problem import Problem
from tasks import near
from tasks.manifest import KEPT, STATISTICS, Side
from tasks.measured import Memory

NO_LABEL: Final = "no label"
TWO_CLASSES: Final = "two classes"
COPY: Final = "exact duplicate"
TWIN: Final = "near duplicate"
WRONG: Final = "wrong label"
_DELETE: Final = "delete the wrong one"
_MOVE: Final = "move the file to its class, or label the photo again"
# Grey levels of 255; the flattest of 3,431 real photos has a contrast of 15.
_BLANK: Final = 2.0


@dataclass(frozen=True)
class Rules:
    """What decides a verdict; part of a version's id."""

    smallest_side: int
    near_duplicates: int
    animated: Literal["set-aside", "first-frame"]
    wrong_labels: Literal["tell", "set-aside"] = "tell"
    revision: int = 3  # of this file's rules: another one makes other versions of the same photos

    @classmethod
    def of(cls, problem: Problem) -> Self:
        data = problem.data
        return cls(data.smallest_side, data.near_duplicates, data.animated, data.wrong_labels)


class Verdict(NamedTuple):
    """verdict: "kept" or a reason in two words. reason: the sentence. twin_of: id of the photo that stays."""

    verdict: str = KEPT
    reason: str = ""
    twin_of: str | None = None


@dataclass(frozen=True)
class Past:
    """What the version before says.

    held: ids of its photos, which stay where a newcomer is their near twin. doubted: photo and class of
    labels that are probably wrong, to the reason.
    """

    held: pa.ChunkedArray = field(default_factory=lambda: pa.chunked_array([], pa.string()))
    doubted: Mapping[tuple[str, str], str] = field(default_factory=dict)


def judged(table: pa.Table, memory: Memory, rules: Rules, past: Past) -> pa.Table:
    """The table of found files with measurements, verdicts and reasons.

    memory: holds the measurements of every photo in the table.
    """
    looks = memory.known(table["id"])
    verdicts = _Verdicts(table)
    verdicts.judge_alone(looks, rules)
    verdicts.judge_the_repeated()
    doubted = verdicts.doubted(past.doubted) if rules.wrong_labels == "set-aside" else {}
    if rules.near_duplicates:
        verdicts.judge_twins(looks["hash"], memory, rules.near_duplicates, past.held, list(doubted))
    verdicts.judge_the_doubted(doubted)  # last, or a twin of as wrong a label would stay in their place
    return verdicts.with_columns(looks)


class _File(NamedTuple):
    """Where a file was found."""

    name: str
    source: str

    @property
    def is_from_journal(self) -> bool:
        """Whether a person labelled it where it was answered; nobody can delete that word."""
        return self.source.startswith("journal://")

    def beside(self, other: _File) -> str:
        """Its name in a sentence about another file; with its source where that is another one."""
        return self.name if self.source == other.source else f"{self.name} of {self.source}"


class _Verdicts:
    """The verdict on each row of a table: kept, unless a rule sets it aside. Most rows cost no Python."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._is_kept = np.ones(len(table), np.bool_)
        self._aside: dict[int, Verdict] = {}
        self._sides: dict[int, Side | None] = {}
        self._groups: dict[int, str | None] = {}

    def judge_alone(self, looks: pa.Table, rules: Rules) -> None:
        """What is wrong with a photo by itself."""
        width, height, frames, contrast, colour = (
            looks[name].to_numpy() for name in ("width", "height", "frames", "contrast", "colourfulness")
        )
        wrong = pc.not_equal(looks["fault"], "").to_numpy()
        wrong = wrong | (np.minimum(width, height) < rules.smallest_side)
        wrong |= (contrast < _BLANK) & (colour < _BLANK)
        wrong |= (frames > 1) & (rules.animated == "set-aside")
        wrong |= self._table["label"].is_null().to_numpy()
        for row in np.flatnonzero(wrong).tolist():
            look = looks.slice(row, 1).to_pylist()[0]
            self._set_aside(row, alone(look, rules))

    def judge_the_repeated(self) -> None:
        """Files that hold the same photo: under two classes none stays, under one the first.

        What any of them says of its side, or first of its group, holds for the one that stays. A correction
        that says what a folder or list says too says nothing new: a photo that was answered wrongly goes on
        to judge, or accuracy would climb by itself.
        """
        places = self._table["id"].combine_chunks().dictionary_encode().indices.to_numpy()
        rows = np.flatnonzero(np.bincount(places)[places] > 1)
        some = self._table.take(rows)
        groups: dict[str, list[tuple[int, str | None, _File]]] = {}
        files_of = map(_File, some["name"].to_pylist(), some["source"].to_pylist())
        for row, id, label, file in zip(
            rows.tolist(), some["id"].to_pylist(), some["label"].to_pylist(), files_of
        ):
            groups.setdefault(id, []).append((row, label, file))
        sides, belongs = (dict(zip(rows.tolist(), some[name].to_pylist())) for name in ("side", "group"))
        for id, files in groups.items():
            first = files[0][2]
            named = {label: file.beside(first) for _, label, file in reversed(files) if label is not None}
            kept = [(row, file) for row, _, file in files if self._is_kept[row]]
            for row, _ in kept[:1]:
                collected = [one for one, label, file in files if label and not file.is_from_journal]
                self._sides[row] = one_side(sides[one] for one in collected or [one for one, *_ in files])
                self._groups[row] = next(filter(None, (belongs[row] for row, *_ in files)), None)
            for number, (row, file) in enumerate(kept):
                if len(named) > 1:
                    where = " and ".join(sorted(named.values()))
                    filed = {label for _, label, file in files if label and not file.is_from_journal}
                    mend = _DELETE if len(filed) > 1 else _MOVE
                    self._set_aside(row, Verdict(TWO_CLASSES, f"the same photo is {where}; {mend}"))
                elif number:
                    self._set_aside(row, Verdict(COPY, f"the same file as {kept[0][1].beside(file)}", id))

    def doubted(self, doubted: Mapping[tuple[str, str], str]) -> dict[int, str]:
        """Rows, so far kept, whose label is probably wrong, as the version before found, and why."""
        ids = pa.array([id for id, _ in doubted], pa.string())
        found = {}
        for row in np.flatnonzero(pc.is_in(self._table["id"], ids).to_numpy()).tolist():
            reason = doubted.get((self._table["id"][row].as_py(), self._table["label"][row].as_py()))
            if reason is not None and self._is_kept[row]:
                found[row] = reason
        return found

    def judge_the_doubted(self, doubted: Mapping[int, str]) -> None:
        """Set aside what `doubted` found."""
        for row, reason in doubted.items():
            self._set_aside(row, Verdict(WRONG, reason))

    def judge_twins(
        self,
        hashes: pa.ChunkedArray,
        memory: Memory,
        radius: int,
        held: pa.ChunkedArray,
        doubted: Sequence[int],
    ) -> None:
        """Of photos that are nearly the same picture, the held one stays, then the one of smaller id.

        doubted: rows that will step aside for their label; until then they count as held beside photos of
        the same label, which are as wrong, and not at all beside others.
        """
        rows = np.flatnonzero(self._is_kept)
        found = rows[near.pairs(hashes.to_numpy()[rows], radius)]
        rows = np.unique(found)  # only those that are in a pair
        some = self._table.take(rows)
        is_doubted = np.isin(rows, doubted)
        is_held = pc.is_in(some["id"], held).to_numpy() | is_doubted
        ids, labels = some["id"].to_pylist(), some["label"].to_pylist()
        files = list(map(_File, some["name"].to_pylist(), some["source"].to_pylist()))
        order = sorted(range(len(rows)), key=lambda n: (not is_held[n], ids[n]))
        rank = np.empty(len(rows), np.int64)
        rank[order] = np.arange(len(rows))
        pairs = np.sort(rank[np.searchsorted(rows, found)], axis=1)  # [P, 2]
        classes = np.unique(np.array([label or "" for label in labels], str), return_inverse=True)[1][order]
        is_apart = is_doubted[order][pairs].any(1) & (classes[pairs[:, 0]] != classes[pairs[:, 1]])
        pairs, is_new = pairs[~is_apart], ~is_held[order]
        thumbs = memory.thumbs(some["id"])[order]
        for later, earlier in stepped_aside(pairs[is_new[pairs[:, 1]]], thumbs):
            one, other = order[later], order[earlier]
            label = "" if labels[one] == labels[other] else f', which is labelled "{labels[other]}"'
            reason = f"nearly the same picture as {files[other].beside(files[one])}{label}"
            self._set_aside(int(rows[one]), Verdict(TWIN, reason, ids[other]))

    def with_columns(self, looks: pa.Table) -> pa.Table:
        """The table with what was measured and judged."""
        verdicts, reasons = [KEPT] * len(self._table), [""] * len(self._table)
        twins: list[str | None] = [None] * len(self._table)
        for row, verdict in self._aside.items():
            verdicts[row], reasons[row], twins[row] = verdict
        heights = np.maximum(looks["height"].to_numpy(), 1)
        aspect = (looks["width"].to_numpy() / heights).astype(np.float32)
        looks = looks.append_column("aspect", pa.array(aspect))
        columns: dict[str, pa.Array] = {
            **{name: looks[name] for name in ("width", "height", "format", "frames", "hash", *STATISTICS)},
            "verdict": pa.array(verdicts),
            "reason": pa.array(reasons),
            "twin_of": pa.array(twins, pa.string()),
        }
        table = self._table
        for name, told in (("side", self._sides), ("group", self._groups)) if self._sides else ():
            values = table[name].to_pylist()
            for row, value in told.items():
                values[row] = value
            table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
        for name, column in columns.items():
            table = table.append_column(name, column)
        return table

    def _set_aside(self, row: int, verdict: Verdict) -> None:
        self._is_kept[row] = False
        self._aside[row] = verdict


def alone(look: Mapping[str, Any], rules: Rules) -> Verdict:  # Any: text and numbers
    """What is wrong with a photo by itself, at least that it has no label. look: its row of measurements."""
    if look["fault"]:
        is_cut = "truncated" in look["fault"]
        return Verdict("truncated" if is_cut else "unreadable", look["fault"])
    if min(look["width"], look["height"]) < rules.smallest_side:
        size = f"{look['width']} x {look['height']} pixels"
        return Verdict("too small", f"{size}; [data] smallest_side asks for {rules.smallest_side}")
    if look["contrast"] < _BLANK and look["colourfulness"] < _BLANK:
        return Verdict("blank", "all of it has one colour")
    if look["frames"] > 1 and rules.animated == "set-aside":
        said = f'{look["frames"]} frames; [data] animated = "first-frame" keeps the first'
        return Verdict("animated", said)
    return Verdict(NO_LABEL, "it lies in no class folder; kept for labelling")


def one_side(given: Iterable[Side | None]) -> Side | None:
    """Of what is said of the sides of one thing: training where anybody says so, else the first word.

    A photo that was picked because it was answered wrongly may teach, and judge nobody.
    """
    said = [side for side in given if side]
    return "train" if "train" in said else next(iter(said), None)


def stepped_aside(pairs: NDArray[np.int64], thumbs: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Which rows give way to which: (later, earlier).

    pairs: [P, 2], of which the first goes before the second. thumbs: [N, 256] of the rows; only those that
    are alike, too, are twins. A row stays unless a row that stays itself is its twin, so bridging rows take
    nobody else with them.
    """
    pairs = pairs[np.lexsort(pairs.T)]
    starts = np.flatnonzero(np.diff(pairs[:, 1], prepend=-1))
    stays = np.ones(len(thumbs), np.bool_)
    gone: list[tuple[int, int]] = []
    for some in np.split(pairs, starts[1:]) if len(pairs) else ():
        later, before = int(some[0, 1]), some[:, 0]
        before = before[stays[before]]  # few stay of many that are all alike, so few are compared
        twins = before[near.alike(thumbs[later], thumbs[before])]
        if len(twins):
            stays[later] = False
            gone.append((later, int(twins[0])))
    return gone
