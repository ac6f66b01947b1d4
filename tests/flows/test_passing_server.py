"""The Prefect server of one command: it is there for it, says nothing on the terminal, and ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

_COMMAND = """
import sys
from pathlib import Path
from flows import passing_server
print(passing_server.start(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@contextmanager
def command(store: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has a passing server until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", _COMMAND, store],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def of(process: subprocess.Popen[str]) -> tuple[str, list[psutil.Process]]:
    """The address that it was given, and what it started."""
    assert process.stdout is not None
    return process.stdout.readline().strip(), psutil.Process(process.pid).children(recursive=True)


@pytest.mark.e2e
def test_it_answers_programs_alone_and_is_silent_until_the_command_ends(tmp_path: Path) -> None:
    with command(tmp_path, PREFECT_SERVER_LOGGING_LEVEL="DEBUG") as process:
        url, started = of(process)
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/health", headers={"origin": "http://evil.example"}).status_code == 403
        assert started
        _, said = process.communicate()
        assert process.returncode == 0
    assert said == ""
    assert not [child for child in started if child.is_running()]
    assert "DEBUG" in (tmp_path / "prefect" / "passing-server.log").read_text()


@pytest.mark.e2e
def test_it_ends_with_a_command_that_is_killed(tmp_path: Path) -> None:
    with command(tmp_path) as process:
        _, started = of(process)
        process.kill()
    gone, alive = psutil.wait_procs(started, timeout=60)
    assert gone
    assert not alive


@pytest.mark.e2e
def test_a_damaged_database_is_told_with_the_log(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    home.mkdir()
    (home / "prefect.db").write_text("no database " * 1000)
    with command(tmp_path) as process:
        _, said = process.communicate()
        assert process.returncode == 1
    last = said.splitlines()[-1]
    assert "the Prefect server ended before it answered" in last
    assert f"its log, {home / 'passing-server.log'}, says: " in last
    assert last.endswith("file is not a database")
