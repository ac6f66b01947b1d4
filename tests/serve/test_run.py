from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pawloop.errors import ServerError
from serve.run import listen, listening_at, refuse_open_door, take_descriptors
from tests import published
from tests.serve.running import settings, until

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def starting(folder: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m COMMAND`, else `python -m serve`, on a free port, just begun."""
    values = {
        "PAWLOOP_STORE": str(folder / "store"),
        "PAWLOOP_PROBLEM": str(published.problem_file(folder)),
        "PAWLOOP_PORT": "0",
        **environment,
    }
    started = subprocess.Popen(
        [sys.executable, "-m", *(command or ["serve"])], cwd=ROOT, env={**os.environ, **values},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@contextmanager
def process(folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m serve` that answers, and its address."""
    with starting(folder, **environment) as started:
        assert started.stderr
        found = re.search(r"http://\S+?:\d+", started.stderr.readline())
        assert found
        until(lambda: _answers(found[0]))
        yield started, found[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("access_log", ["0", "1"])
def test_a_signal_ends_the_server_well(tmp_path: Path, number: signal.Signals, access_log: str) -> None:
    published.champion(tmp_path / "store")
    with process(tmp_path, PAWLOOP_ACCESS_LOG=access_log) as (started, url):
        assert httpx.post(f"{url}/predict", content=published.photo("red")).json()["label"] == "cat"
        started.send_signal(number)
        assert started.wait(10) == 0
        assert started.stderr
        assert "Traceback" not in started.stderr.read()


def test_what_is_in_flight_is_answered_before_the_server_ends(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    statuses: list[int] = []
    with process(tmp_path) as (started, url):
        files = [("photo", published.photo("red", (2000, 2000))) for _ in range(60)]
        asking = threading.Thread(
            target=lambda: statuses.append(httpx.post(f"{url}/predict", files=files, timeout=20).status_code)
        )
        asking.start()
        until(lambda: "pawloop_requests_in_flight 2.0" in httpx.get(f"{url}/metrics").text)
        started.send_signal(signal.SIGTERM)
        assert started.wait(15) == 0
        asking.join(5)
    assert statuses == [200]


def test_a_unix_socket_is_taken_only_where_nobody_answers(brief: Path) -> None:
    left = brief / "left.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(left))
    with listening_at(left):
        refused = pytest.raises(ServerError, match=r"left\.sock: Address already in use")
        with refused, listening_at(left):
            pass
        assert left.stat().st_mode & 0o777 == 0o666
    assert not left.exists()
    missing = pytest.raises(ServerError, match=r"nowhere/x\.sock: No such file")
    with missing, listening_at(brief / "nowhere" / "x.sock"):
        pass


def test_a_server_that_ends_leaves_its_successors_unix_socket(brief: Path) -> None:
    path = brief / "x.sock"
    ending = listening_at(path)
    ending.__enter__().close()
    with listening_at(path):
        ending.__exit__(None, None, None)
        assert path.exists()


@pytest.mark.parametrize(
    ("believed", "client"), [("", "203.0.113.7"), ("198.51.100.1", "127.0.0.1")], ids=["its own", "another"]
)
def test_the_stacks_server_lives_behind_a_proxy_by_its_settings(
    tmp_path: Path, believed: str, client: str
) -> None:
    published.champion(tmp_path / "store")
    forwarded = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
    proxied = {"PAWLOOP_ROOT_PATH": "/paws", "PAWLOOP_FORWARDED_ALLOW_IPS": believed}
    with process(tmp_path, PAWLOOP_ACCESS_LOG="1", **proxied) as (started, url):
        answer = httpx.post(f"{url}/predict", content=published.photo("red"), headers=forwarded)
        assert answer.json()["label"] == "cat"
        assert httpx.get(f"{url}/openapi.json").json()["servers"] == [{"url": "/paws"}]
        started.terminate()
        lines = map(json.loads, started.communicate(timeout=15)[0].splitlines())
        assert [one["client"] for one in lines if one["method"] == "POST"] == [client]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_model_loads_ends_the_server_too(
    tmp_path: Path, brief: Path, number: signal.Signals
) -> None:
    published.champion(tmp_path / "store")
    with starting(tmp_path, "pawloop.cli", "serve", "--uds", str(brief / "s")) as started:
        until((brief / "s").exists)
        started.send_signal(number)
        assert started.wait(15) == 0
    assert not (brief / "s").exists()


def test_a_taken_port_is_named() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port}.*PAWLOOP_PORT"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("fault", ["a taken port", "a file of keys that is not there"])
def test_a_server_that_cannot_start_ends_with_one_line_and_status_1(fault: str, tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with listen("127.0.0.1", 0) as taken:
        values = {
            "PAWLOOP_STORE": str(tmp_path / "store"),
            "PAWLOOP_PROBLEM": str(published.problem_file(tmp_path)),
            "PAWLOOP_PORT": str(taken.getsockname()[1]) if fault == "a taken port" else "0",
            "PAWLOOP_API_KEYS": "" if fault == "a taken port" else str(tmp_path / "keys"),
        }
        command = [sys.executable, "-m", "pawloop.cli", "serve"]
        ended = subprocess.run(
            command, env={**os.environ, **values}, capture_output=True, text=True, timeout=60
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith("pawloop: ")
    assert len(ended.stderr.splitlines()) == 1


def test_as_many_files_may_be_open_as_the_system_lets_us() -> None:
    resource = pytest.importorskip("resource", reason="there is no such limit on this system")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    take_descriptors()
    now, still = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert still == most
    assert now == most or (most == resource.RLIM_INFINITY and now >= 10_240)


def test_where_an_unlimited_number_of_files_is_refused_many_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = pytest.importorskip("resource", reason="there is no such limit on this system")
    limits = [256, resource.RLIM_INFINITY]

    def take(_: int, wanted: tuple[int, int]) -> None:
        if not 0 <= wanted[0] <= 10_240:
            raise ValueError("current limit exceeds maximum limit")
        limits[:] = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", take)
    take_descriptors()
    assert limits == [10_240, resource.RLIM_INFINITY]


def test_an_open_address_needs_keys_or_a_word(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="PAWLOOP_OPEN=1"):
        refuse_open_door(settings(tmp_path, host="0.0.0.0"))
    refuse_open_door(settings(tmp_path, host="0.0.0.0", open=True))
    refuse_open_door(settings(tmp_path, host="::1"))
    refuse_open_door(settings(tmp_path, host="localhost"))


def test_importing_the_server_needs_nothing_of_training() -> None:
    heavy = "torch torchvision prefect sklearn matplotlib scipy pyarrow typer tasks flows export"
    code = f"import sys, serve.run; print([n for n in {heavy.split()!r} if n in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False
