"""Curate: look at every photo once, and set aside with a reason what nobody should learn from.

Knows the rules and their order. Knows nothing about pixels (see `measure`) or sides. Deletes nothing.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pawloop import durable
from pawloop.problem import Problem
from tasks import measured, verdict
from tasks.look import Place, looks
from tasks.manifest import KEPT, versions
from tasks.measured import Memory
from tasks.store import growing, store_errors, told

Progress = Callable[[int, int], None]

_PARTS_AT_ONCE: Final = 20


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
    with store_errors(store), measured.opened(store) as memory:
        _measure_news(table, store, memory, on_progress)
        rules = verdict.Rules.of(problem)
        facts = {**told(found), "rules": asdict(rules)}
        known = memory.known(table.column("id").to_pylist())
        table = verdict.judged(table, known, rules, _held(store, problem.name))
        path = growing(store, problem.name) / "curated.parquet"
        with durable.aside(path) as draft:
            pq.write_table(table.replace_schema_metadata({"pawloop": json.dumps(facts)}), draft)
    counts = Counter(table.column("verdict").to_pylist())
    kept = counts.pop(KEPT, 0)
    return Curated(path, kept, dict(counts))


def _measure_news(table: pa.Table, store: Path, memory: Memory, on_progress: Progress | None) -> None:
    """Decode what the store has not measured yet; what is done stays done if this is interrupted."""
    places = _places(table)
    news = [places[id] for id in memory.missing(places)]
    done, total = len(places) - len(news), len(places)
    parts = looks(news, store)
    while batch := list(itertools.chain.from_iterable(itertools.islice(parts, _PARTS_AT_ONCE))):
        memory.remember(batch)
        done += len(batch)
        if on_progress is not None:
            on_progress(done, total)
    if on_progress is not None and not news:
        on_progress(done, total)


def _places(table: pa.Table) -> dict[str, Place]:
    """Where each photo can be read, by its id."""
    columns = (table.column(name).to_pylist() for name in Place._fields)
    return {place.id: place for place in map(Place._make, zip(*columns, strict=True))}


def _held(store: Path, name: str) -> set[str]:
    """The photos that the newest version holds."""
    before = versions(store, name)
    if not before:
        return set()
    rows = before[-1].rows(["id", "verdict"])
    return set(rows.filter(pc.equal(rows["verdict"], KEPT)).column("id").to_pylist())
