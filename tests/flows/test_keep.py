from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

KEEP = "import sys; from flows.keep import keep; sys.exit(keep(sys.argv[1:], settled_s=0.0, pause_s=0.0))"
HASTY = "import sys; from flows.keep import keep; sys.exit(keep(sys.argv[1:], settled_s=60, pause_s=0.0))"
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def kept(how: str, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", how, *command])


def child_of(keeper: subprocess.Popen[bytes], other_than: int = 0) -> psutil.Process:
    for _ in range(200):
        children = psutil.Process(keeper.pid).children()
        if children and children[0].pid != other_than:
            return children[0]
        time.sleep(0.05)
    raise AssertionError("no child")


def test_a_killed_command_is_run_again_and_a_signal_ends_both() -> None:
    keeper = kept(KEEP, *SLEEP)
    first = child_of(keeper)
    first.kill()
    second = child_of(keeper, other_than=first.pid)
    keeper.send_signal(signal.SIGTERM)
    assert keeper.wait(20) == 128 + signal.SIGTERM
    assert not second.is_running()


def test_a_command_that_fails_at_its_start_is_not_tried_for_ever() -> None:
    assert kept(HASTY, sys.executable, "-c", "raise SystemExit(3)").wait(20) == 3


def test_what_has_settled_once_is_started_again_even_where_it_ends_soon(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    command = (
        f"import pathlib, sys, time; at = pathlib.Path({str(runs)!r}); at.open('a').write('x'); "
        "count = len(at.read_text()); time.sleep(count == 1 and 1.5); sys.exit(0 if count == 3 else 7)"
    )
    settles = KEEP.replace("settled_s=0.0", "settled_s=1.2")
    assert kept(settles, sys.executable, "-c", command).wait(30) == 0
    assert runs.read_text() == "xxx"


def test_a_command_that_ends_well_is_done(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    write = f"open({str(mark)!r}, 'a').write('x')"
    assert kept(KEEP, sys.executable, "-c", write).wait(20) == 0
    assert mark.read_text() == "x"


def test_a_signal_between_two_starts_ends_it() -> None:
    pauses = KEEP.replace("pause_s=0.0", "pause_s=30")
    with subprocess.Popen(
        [sys.executable, "-c", pauses, sys.executable, "-c", "raise SystemExit(3)"], stdout=subprocess.PIPE
    ) as keeper:
        assert keeper.stdout is not None
        assert b"started again" in keeper.stdout.readline()
        keeper.send_signal(signal.SIGTERM)
        assert keeper.wait(10) == 3
