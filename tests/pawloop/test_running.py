"""Who works on a store: its one stack is found, whatever its ports, for as long as it lives."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawloop import running
from pawloop.errors import BusyError
from pawloop.settings import Settings


def test_a_stack_is_found_by_its_store_while_it_runs(tmp_path: Path) -> None:
    asking = Settings(store=tmp_path)
    with running.noted(Settings(store=tmp_path, port=8123, prefect_port=4323)):
        found = running.beside(asking)
        assert (found.port, found.prefect_port) == (8123, 4323)
        assert running.beside(Settings(store=tmp_path / "another")).port == asking.port
    assert running.beside(asking) == asking


def test_ports_that_a_killed_stack_left_behind_are_not_taken(tmp_path: Path) -> None:
    with running.noted(Settings(store=tmp_path, port=8123)):
        left = (tmp_path / "state" / "up.json").read_bytes()
    (tmp_path / "state" / "up.json").write_bytes(left)
    assert running.beside(Settings(store=tmp_path)).port == Settings().port


def test_a_store_has_one_stack(tmp_path: Path) -> None:
    first, second = Settings(store=tmp_path, port=8123), Settings(store=tmp_path, port=8124)
    with running.noted(first):
        with pytest.raises(BusyError, match="`pawloop up` with port 8123"), running.noted(second):
            pass
        assert running.beside(second).port == 8123
