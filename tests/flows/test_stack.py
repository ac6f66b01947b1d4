"""The stack's own parts that need no server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import zoneinfo
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from flows import stack, up
from flows.up import banner
from pawloop import running
from pawloop.errors import ServerError
from pawloop.settings import Settings
from tests import published
from tests.e2e.stack import free_port

TERMINAL = """
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which whoever runs the tests may have ignored
from flows import stack, up
from pawloop.settings import Settings
stack.TREE = Path(sys.argv[1])
up._Story.tell = lambda story: None
ports = {"port": 0, "prefect_port": 18423}
sys.exit(up.up(Settings(store=stack.TREE / "store", **ports)))
"""


def test_every_process_of_the_stack_finds_the_same_store_problem_and_server() -> None:
    found = stack.environment(Settings(problem="tools", port=8123, prefect_port=4321))
    assert os.path.isabs(found["PAWLOOP_STORE"])  # noqa: PTH117
    assert found["PAWLOOP_PROBLEM"] == "tools"
    assert found["PAWLOOP_SERVER_URL"] == "http://127.0.0.1:8123"
    assert found["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"


def test_telemetry_is_off_and_heartbeats_are_on() -> None:
    found = stack.environment(Settings())
    assert found["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert found["DO_NOT_TRACK"] == "1"
    assert int(found["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) >= 30


def test_a_taken_port_is_named_with_its_setting() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ServerError, match=f"PAWLOOP_PORT: port {port}"):
            stack.check_ports(Settings(port=port))


def test_what_carries_the_mark_is_ended_whatever_group_it_is_in() -> None:
    code = "import time; print('up', flush=True); time.sleep(60)"
    environment = os.environ | {stack.MARK: "a-test"}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, start_new_session=True, stdout=subprocess.PIPE
    ) as stray:
        assert stray.stdout is not None
        assert stray.stdout.readline()  # until then it has its parent's environment
        stack.end_all("a-test")
        stray.wait(10)
        assert not psutil.pid_exists(stray.pid)


def test_what_is_left_of_a_killed_stack_is_ended_though_nobody_holds_its_lock(tmp_path: Path) -> None:
    settings = Settings(store=tmp_path, port=free_port(), prefect_port=free_port())
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with running.noted(settings, "another-test"):
        note = json.loads((tmp_path / "state" / "up.json").read_text())
    (tmp_path / "state" / "up.json").write_text(json.dumps(note | {"process": gone.pid}))
    code = "import time; print('up', flush=True); time.sleep(60)"
    environment = os.environ | {stack.MARK: "another-test"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as stray:
        assert stray.stdout is not None
        assert stray.stdout.readline()
        up.require_free(settings)
        assert stray.poll() is not None


def test_pythons_own_helper_is_left_to_end_by_itself() -> None:
    code = "print('up', flush=True); import time; time.sleep(60)  # multiprocessing.resource_tracker"
    environment = os.environ | {stack.MARK: "a-third-test"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as helper:
        assert helper.stdout is not None
        assert helper.stdout.readline()
        assert stack.carriers("a-third-test") == []
        helper.kill()


def test_a_user_without_a_home_has_one_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "HOME" not in stack.environment(Settings(store=tmp_path))

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert stack.environment(Settings(store=tmp_path))["HOME"] == str(tmp_path)


def test_an_address_that_is_not_this_machines_is_not_called_taken() -> None:
    with pytest.raises(ServerError, match=r"cannot be listened at.*correct PAWLOOP_HOST"):
        stack.check_ports(Settings(host="192.0.2.7", port=8123, prefect_port=4321))


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert Settings(host="::1", port=8123).own_url == "http://[::1]:8123"


def test_schedules_go_by_the_machines_zone_unless_another_is_set() -> None:
    assert stack.environment(Settings(timezone="Europe/Berlin"))["PAWLOOP_TIMEZONE"] == "Europe/Berlin"
    assert stack.environment(Settings())["PAWLOOP_TIMEZONE"] in zoneinfo.available_timezones()
    with pytest.raises(ValidationError, match="must be a name such as Europe/Berlin"):
        Settings(timezone="Middle-earth/Shire")


def sleeper_of(started: subprocess.Popen[str]) -> psutil.Process:
    """The one process of a stack, once it is there."""
    assert started.stdout is not None
    said = next(line for line in started.stdout if "started (pid=" in line)
    return psutil.Process(int(said.rpartition("=")[2].rstrip(")\n")))


def test_a_closed_terminal_stops_the_stack(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("sleeper: exec sleep 60\n")
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL, tmp_path], stdout=subprocess.PIPE, text=True
    ) as started:
        sleeper = sleeper_of(started)
        started.send_signal(signal.SIGHUP)
        assert started.wait(20) == 0
    assert not sleeper.is_running() or sleeper.status() == psutil.STATUS_ZOMBIE
    assert not (tmp_path / "store" / "state" / "up.json").exists()


def test_who_serves_needs_no_photo_to_be_shown_with(tmp_path: Path) -> None:
    published.champion(tmp_path)
    told = banner(
        Settings(store=tmp_path, port=8123), "colours", "http://ui", {"name": "colours", "version": 1}
    )
    assert "colours version 1 answers" in told
    assert "--data-binary @PHOTO http://127.0.0.1:8123/predict" in told


def test_prefects_server_ends_when_the_worker_has_told_it_all(tmp_path: Path) -> None:
    said = tmp_path / "said"
    code = (
        "import signal, sys, time, pathlib\n"
        "def end(*_):\n"
        "    time.sleep(float(sys.argv[2]))\n"
        f"    with open({str(said)!r}, 'a') as file: print(sys.argv[1], file=file)\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('sleeping', flush=True)\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "part.py").write_text(code)
    parts = {"prefect": 0, "worker": 1, "server": 0}
    lines = [f"{name}: exec {sys.executable} {tmp_path}/part.py {name} {s}\n" for name, s in parts.items()]
    (tmp_path / "Procfile").write_text("".join(lines))
    command = [sys.executable, "-c", TERMINAL, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        asleep = 0
        while asleep < len(parts):
            asleep += "sleeping" in started.stdout.readline()
        started.send_signal(signal.SIGINT)
        rest = started.stdout.read()
        assert started.wait(20) == 0
    assert said.read_text().split() == ["server", "worker", "prefect"]
    assert "SIGKILL" not in rest


def test_what_is_left_of_a_killed_stack_is_ended_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("sleeper: exec sleep 60\n")
    command = [sys.executable, "-c", TERMINAL, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        sleeper = sleeper_of(killed)
        killed.kill()
    assert sleeper.is_running()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        sleeper_of(started)
        assert not sleeper.is_running() or sleeper.status() == psutil.STATUS_ZOMBIE
        started.send_signal(signal.SIGTERM)
        assert started.wait(20) == 0
