"""`pawloop up` on free ports and a store of its own, as a person starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psutil

TREE = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PROBLEM = """
name = "sample"
classes = ["cat", "dog"]
[data]
sources = ["sample://pets?count=240&seed=4"]
[model]
backbone = "efficientnet_lite0"
[train]
fine_tune = "never"
[evaluate]
robustness_photos = 8
occlusion_photos = 2
[gate]
margin = 0.15
[tune]
budget_s = 60
trials = 1
trial_s = 20
backbones = []
image_sizes = []
[shadow]
photos = 1
patience_s = 60
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Stack:
    """One stack; `lines` is what it has said so far."""

    folder: Path
    problem: str = PROBLEM
    settings: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        path = self.folder / "sample.toml"
        path.write_text(self.problem)
        self.port, self.prefect_port = free_port(), free_port()
        self.environment = os.environ | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PAWLOOP_STORE": str(self.folder / "store"),
            "PAWLOOP_PROBLEM": str(path),
            "PAWLOOP_PORT": str(self.port),
            "PAWLOOP_PREFECT_PORT": str(self.prefect_port),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.prefect_port}/api",
            **self.settings,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [BIN / "pawloop", "up"],
            cwd=TREE,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def await_line(self, pattern: str, timeout_s: float = 240.0) -> str:
        """The first line said from now or before that matches."""
        deadline, seen = time.monotonic() + timeout_s, 0
        while time.monotonic() < deadline:
            for line in self.lines[seen:]:
                if re.search(pattern, line):
                    return line
            seen = len(self.lines)
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"{pattern!r} was not said:\n" + "\n".join(self.lines[-60:]))

    def stop(self) -> int:
        """Ctrl-C, then the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        status = self.process.wait(60)
        self.lines.clear()
        return status

    def ours(self) -> list[psutil.Process]:
        """Every process, besides this one, that works on this stack's store."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get("PAWLOOP_STORE") == str(self.store)
            except (psutil.Error, OSError):
                continue
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def run(
        self,
        *arguments: str,
        timeout_s: float = 240.0,
        without: Collection[str] = (),
        instead: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.CompletedProcess[str]:
        """A command of the environment's, such as `prefect` or `pawloop`, against this stack.

        without: variables that it does not find in its environment. instead: those that it finds otherwise.
        """
        command = [str(BIN / arguments[0]), *arguments[1:]]
        return subprocess.run(
            command,
            cwd=TREE,
            env={name: value for name, value in self.environment.items() if name not in without}
            | dict(instead),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def prefect(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """An answer of Prefect's API."""
        return asked("POST", f"{self.environment['PREFECT_API_URL']}{path}", body or {}).json()

    def flow_runs(self) -> list[dict[str, Any]]:
        """Flow runs, oldest first."""
        found: list[dict[str, Any]] = self.prefect("/flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})
        return [run for run in found if run["state_type"] != "SCHEDULED"]

    def run_that_nobody_works_on(self) -> str:
        """The id of a retrain that Prefect believes to be running, as after a Ctrl-C in the middle of one."""
        deployments = {one["name"]: one["id"] for one in self.prefect("/deployments/filter")}
        path = f"/deployments/{deployments['nightly']}/create_flow_run"
        return str(self.prefect(path, {"state": {"type": "RUNNING"}})["id"])

    def schedules(self) -> dict[str, tuple[str, bool]]:
        """By deployment: its schedule's address in Prefect's API, and whether that is active."""
        places = f"{self.environment['PREFECT_API_URL']}/deployments"
        return {
            deployment["name"]: (f"{places}/{deployment['id']}/schedules/{found['id']}", found["active"])
            for deployment in self.prefect("/deployments/filter")
            for found in deployment["schedules"]
        }

    def pause_schedules(self) -> None:
        """Wait until `up` has made them, then pause them: at any hour, only the tests start runs."""
        wait_until(lambda: answers(f"{self.environment['PREFECT_API_URL']}/health"), 240, "Prefect answers")
        wait_until(lambda: len(self.schedules()) == 2, 240, "both deployments have a schedule")
        assert all(is_active for _, is_active in self.schedules().values())
        for address, _ in self.schedules().values():
            asked("PATCH", address, {"active": False})

    def aliases(self) -> dict[str, Any]:
        path = self.store / "models" / "sample" / "aliases.json"
        aliases: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return aliases

    def photo(self) -> bytes:
        return next(self.store.glob("samples/*/cat/*.jpg")).read_bytes()


class Caller:
    """Asks a server without a pause and remembers every answer that was not 200."""

    def __init__(self, url: str, photo: bytes) -> None:
        self.url, self.photo = url, photo
        self.count, self.failures, self.versions = 0, [], set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(2)]

    def _ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(f"{self.url}/predict", content=self.photo)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                self.count += 1
                if answer.status_code == httpx.codes.OK:
                    self.versions.add(answer.json()["model"]["version"])
                else:
                    self.failures.append(answer.text)
                time.sleep(0.02)

    def __enter__(self) -> Caller:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.2)


def asked(method: str, url: str, body: dict[str, Any]) -> httpx.Response:
    """Prefect's answer; its 503 (its SQLite file was busy, say) means: ask again, as its own client does."""
    deadline = time.monotonic() + 30
    while True:
        answer = httpx.request(method, url, json=body, timeout=30)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
            return answer.raise_for_status()
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.HTTPError:
        return False
    return True
