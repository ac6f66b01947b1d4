"""Curate: look at every photo once, and set aside with a reason what nobody should learn from.

Knows the rules and their order. Knows nothing about pixels (see `measure`) or sides. Deletes nothing.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pawloop import durable
from pawloop.addresses import public
from pawloop.problem import Problem
from tasks import verdict
from tasks.doubted import doubted
from tasks.look import Place, joined, looks
from tasks.manifest import KEPT, Dataset, comparable, versions
from tasks.measured import Memory
from tasks.store import growing, store_errors, told, write
from tasks.verdict import Past

Progress = Callable[[int, int], None]

_PARTS_AT_ONCE: Final = 60  # of a few dozen photos: so many are measured again after a crash at most


@dataclass(frozen=True)
class Curated:
    """path: the table of what was found, with verdicts. set_aside: files by reason."""

    path: Path
    kept: int
    set_aside: dict[str, int]


def curate(found: Path, problem: Problem, store: Path, on_progress: Progress | None = None) -> Curated:
    """Measure every photo that the store does not know yet, and give each file its verdict.

    Raises SourceError when a photo changed or vanished since it was collected.
    """
    table = pq.read_table(found)
    with store_errors(store):
        memory = Memory(store)
        _measure_news(table, store, memory, on_progress)
        rules = verdict.Rules.of(problem)
        facts = {**told(found), "rules": asdict(rules)}
        table = verdict.judged(table, memory, rules, _past(store, problem, rules))
        path = growing(store, problem.name) / "curated.parquet"
        with durable.aside(path) as draft:
            write(table.replace_schema_metadata({"pawloop": json.dumps(facts)}), draft)
    counts = {row["values"]: row["counts"] for row in pc.value_counts(table["verdict"]).to_pylist()}
    kept = counts.pop(KEPT, 0)
    return Curated(path, kept, counts)


def _measure_news(table: pa.Table, store: Path, memory: Memory, on_progress: Progress | None) -> None:
    """Decode what the store has not measured yet; what is done stays done if this is interrupted."""
    news = memory.missing(table["id"])
    first = table.take(pc.index_in(news, table["id"]))  # of a photo found twice, one place is enough
    places = [Place(*row) for row in zip(first["location"].to_pylist(), first["stored"].to_pylist())]
    total = len(pc.unique(table["id"]))
    done = total - len(news)
    ids = iter(news.to_pylist())
    parts = looks(places, store)
    while batch := list(itertools.islice(parts, _PARTS_AT_ONCE)):
        whole = joined(batch)
        memory.remember(list(itertools.islice(ids, len(whole.faults))), whole)
        done += len(whole.faults)
        if on_progress is not None:
            on_progress(done, total)
    if on_progress is not None and not places:
        on_progress(done, total)


def _past(store: Path, problem: Problem, rules: verdict.Rules) -> Past:
    """What the newest version of these sources holds, and the labels doubted by it or before it."""
    chosen = comparable(versions(store, problem.name), set(map(public, problem.data.sources)))
    if chosen is None:
        return Past()
    last = Dataset.open(store, problem.name, chosen.id)
    rows = last.rows(["id", "label", "verdict", "reason", "side"])
    held = rows.filter(pc.equal(rows["verdict"], KEPT))["id"]
    if last.facts()["rules"]["near_duplicates"] < rules.near_duplicates:
        held = held.slice(0, 0)  # it did not look as far, so its twins may stand on both sides
    # Not of the other sides: a model would be judged by the photos that are easy to tell.
    taught = rows.filter(pc.equal(rows["side"], "train"))
    ids = set(taught["id"].to_pylist())
    reasons = {
        (id, label): f'photos like it are labelled "{likely}"; put it there, or correct the others'
        for (id, label), likely in doubted(last).items()
        if id in ids
    }
    for row in taught.filter(pc.equal(taught["verdict"], verdict.WRONG)).to_pylist():
        reasons[row["id"], row["label"]] = row["reason"]
    return Past(held, reasons)
