"""Tables that only grow: what was added is found, the newest first, whatever a crash left beside it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tasks.columns import Growing

SCHEMA = pa.schema({"name": pa.string(), "value": pa.int64()})


def rows(folder: Path) -> dict[str, int]:
    """The newest value of every name, as a reader finds it now."""
    table = Growing(folder, SCHEMA, "name").columns(["name", "value"]).to_pydict()
    return dict(zip(reversed(table["name"]), reversed(table["value"])))


def add(folder: Path, name: str, value: int) -> None:
    Growing(folder, SCHEMA, "name").add(pa.table({"name": [name], "value": [value]}, SCHEMA))


def test_many_small_parts_become_one_that_says_the_newest_of_each(tmp_path: Path) -> None:
    for number in range(40):
        add(tmp_path, f"name{number % 3}", number)

    assert rows(tmp_path) == {"name0": 39, "name1": 37, "name2": 38}
    assert len(list(tmp_path.glob("*.arrow"))) <= 17


def test_a_damaged_part_is_left_out(tmp_path: Path) -> None:
    add(tmp_path, "one", 1)
    add(tmp_path, "two", 2)
    [first, _] = sorted(tmp_path.glob("*.arrow"))
    first.write_bytes(first.read_bytes()[:100])

    assert rows(tmp_path) == {"two": 2}


def test_what_is_open_stays_readable_while_another_makes_one_of_many(tmp_path: Path) -> None:
    add(tmp_path, "first", 0)
    reader = Growing(tmp_path, SCHEMA, "name")
    for number in range(20):
        add(tmp_path, f"name{number}", number)

    rows(tmp_path)

    assert reader.columns(["name"])["name"].to_pylist() == ["first"]
