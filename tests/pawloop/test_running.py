"""Who works on a store: its one stack is found, whatever its ports, for as long as it lives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pawloop import running
from pawloop.errors import BusyError, DamagedFileError
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


def test_a_stack_whose_own_process_was_killed_is_known_though_nobody_holds_its_lock(tmp_path: Path) -> None:
    settings, file = Settings(store=tmp_path), tmp_path / "state" / "up.json"
    with running.noted(settings, "a-mark"):
        assert running.orphaned(settings) is None
        note = json.loads(file.read_text())
    assert running.orphaned(settings) is None
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    file.write_text(json.dumps(note | {"process": gone.pid}))
    assert running.orphaned(settings) == "a-mark"
    assert not running.is_held(settings)


@pytest.mark.parametrize("content", ["{", "[]", '{"port": 8123}'])
def test_a_stack_whose_file_is_damaged_is_told_and_is_the_stores_one_stack(
    tmp_path: Path, content: str
) -> None:
    settings, file = Settings(store=tmp_path), tmp_path / "state" / "up.json"
    with running.noted(settings):
        file.write_text(content)
        with pytest.raises(DamagedFileError, match=f"{file}: .*; stop `pawloop up` and start it again"):
            running.beside(settings)
        assert running.orphaned(settings) is None
    assert running.beside(settings) == settings


def test_a_store_has_one_stack(tmp_path: Path) -> None:
    first, second = Settings(store=tmp_path, port=8123), Settings(store=tmp_path, port=8124)
    with running.noted(first):
        with pytest.raises(BusyError, match="`pawloop up` with port 8123"), running.noted(second):
            pass
        assert running.beside(second).port == 8123
