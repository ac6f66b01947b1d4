"""Which photos are for training, validation and test, and the version that says so.

A photo's side depends on the problem's name and its own id (or its group's) and on nothing else, so it
never moves when photos are added. Knows nothing about pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pawloop import durable
from pawloop.problem import Problem
from tasks.manifest import KEPT, PLACED, SIDES, Dataset, Side, versions
from tasks.store import store_errors, told
from tasks.verdict import COPY, WRONG, one_side

Member = tuple[str, str | None, str, str | None, str | None]  # as version_id names them


def split(curated: Path, problem: Problem, store: Path) -> Dataset:
    """Give every kept photo its side and write the version, or find it already there.

    The version's id hashes its sorted (photo, class, verdict, side, group) and the rules of curation: the
    same photos are the same version, whatever their order, names or machine.
    """
    table = pq.read_table(curated)
    sides = _sides(table, problem)
    table = table.set_column(table.schema.get_field_index("side"), "side", pa.array(sides, pa.string()))
    table = table.sort_by([("id", "ascending"), ("label", "ascending"), ("location", "ascending")])
    facts = told(curated)
    dataset = Dataset(store, problem.name, version_id(_members(table), facts["rules"]))
    with store_errors(store):
        if not (dataset.folder / "version.json").exists():
            _write(dataset, table.replace_schema_metadata(None), facts, problem)
        opened = Dataset.open(store, problem.name, dataset.id)
        _note_places(opened, table)
        _note_aside(opened, table)
        _note_found(opened, {**facts, "set_aside": _set_aside(table)})
    return opened


def side_of(problem_name: str, key: str, test: float, validation: float) -> Side:
    """The side that chance, fixed by problem and key, gives a photo. key: its id, or its group's name."""
    digest = hashlib.sha256(f"{problem_name}\0{key}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def version_id(members: Iterable[Member], rules: dict[str, object]) -> str:
    """16 hexadecimal digits for (photo, class, verdict, side, group) in any order, and the rules."""
    label_json = cache(partial(json.dumps, ensure_ascii=False))  # one of few words; an id is plain text
    lines = sorted(
        {
            f'["{id}", {label_json(label)}, "{verdict}", {label_json(side)}'
            + (f", {json.dumps(group)}]" if group else "]")
            for id, label, verdict, side, group in members
        }
    )
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return durable.content_key(digest, rules)


def _sides(table: pa.Table, problem: Problem) -> list[Side | None]:
    """A side for each row that was kept, or would be but for its label; one that its source gave wins.

    One that is given to some photos of a group is that of the others, too, or training where several are:
    nothing but a source divides a group.
    """
    ids, groups, sides, verdicts = (
        table.column(name).to_pylist() for name in ("id", "group", "side", "verdict")
    )
    said: dict[str, list[Side]] = {}
    for group, given in zip(groups, sides, strict=True):
        if group and given:
            said.setdefault(group, []).append(given)
    of_group = {group: one_side(given) for group, given in said.items()}
    data = problem.data
    return [
        (
            given
            or of_group.get(group)
            or side_of(problem.name, f"group:{group}" if group else id, data.test, data.validation)
        )
        if verdict in (KEPT, WRONG)
        else None
        for id, group, given, verdict in zip(ids, groups, sides, verdicts, strict=True)
    ]


def _members(table: pa.Table) -> Iterable[Member]:
    # A further copy of a photo changes nothing that a model could learn: it makes no new version.
    columns = (table.column(name).to_pylist() for name in ("id", "label", "verdict", "side", "group"))
    return (row for row in zip(*columns, strict=True) if row[2] != COPY)


def _write(dataset: Dataset, table: pa.Table, facts: dict[str, object], problem: Problem) -> None:
    dataset.folder.mkdir(parents=True, exist_ok=True)
    with durable.aside(dataset.manifest) as draft:
        pq.write_table(table, draft, compression="zstd")
        manifest_sha256 = durable.sha256(draft)
    version = {
        "problem": problem.name,
        "classes": list(problem.classes),
        "counts": _counts(table, problem.classes),
        "set_aside": _set_aside(table),
        "manifest_sha256": manifest_sha256,
        "created_at": datetime.now(UTC).isoformat(),
        **facts,
    }
    durable.write_json(dataset.folder / "version.json", version)  # last: without it there is no version


def _note_places(dataset: Dataset, table: pa.Table) -> None:
    """Remember where photos lie now that were moved or renamed, or copied into the store, since."""
    now = table.filter(pc.equal(table["verdict"], KEPT)).select(list(PLACED)).replace_schema_metadata(None)
    if now.to_pydict() != dataset.kept(list(PLACED)).select(list(PLACED)).to_pydict():
        with durable.aside(dataset.places) as draft:
            pq.write_table(now, draft, compression="zstd")


def _note_aside(dataset: Dataset, table: pa.Table) -> None:
    """Remember which files are set aside now: a further copy, or one that was deleted, makes no version."""
    now = table.filter(pc.not_equal(table["verdict"], KEPT)).replace_schema_metadata(None)
    if not now.equals(dataset.aside()):
        with durable.aside(dataset.aside_now) as draft:
            pq.write_table(now, draft, compression="zstd")


def _note_found(dataset: Dataset, facts: dict[str, object]) -> None:
    """Remember what the latest collection says of its sources, where that is not what the first one said.

    So also that an older version is what was found last: photos came, and went again.
    """
    known, last = dataset.facts(), versions(dataset.store, dataset.name)[-1]
    if last.id != dataset.id or any(known.get(name) != value for name, value in facts.items()):
        # A clock that once ran ahead must not keep what it dated the newest until that day comes.
        found_at = max(datetime.now(UTC), last.found_at + datetime.resolution)
        durable.write_json(dataset.found, {**facts, "found_at": found_at.isoformat()})


def _counts(table: pa.Table, classes: tuple[str, ...]) -> dict[Side, dict[str, int]]:
    counts = {side: dict.fromkeys(classes, 0) for side in SIDES}
    kept = table.filter(pc.equal(table["verdict"], KEPT))
    for row in kept.group_by(["side", "label"]).aggregate([([], "count_all")]).to_pylist():
        counts[row["side"]][row["label"]] = row["count_all"]
    return counts


def _set_aside(table: pa.Table) -> dict[str, int]:
    rows = table.group_by("verdict").aggregate([([], "count_all")]).to_pylist()
    return {row["verdict"]: row["count_all"] for row in rows if row["verdict"] != KEPT}
