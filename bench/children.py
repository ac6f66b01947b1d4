"""Servers as children: started, waited for, measured with all that they start, and ended by their own ids.

Knows processes. Knows nothing about what they serve.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_START_S = 60.0
_END_S = 10.0


class DidNotStartError(Exception):
    """A server that did not answer; the message ends with the last of its words."""


@dataclass
class Child:
    """A server that answers. start_s: from exec to its first 200."""

    process: psutil.Process
    port: int
    start_s: float
    _gone_cpu_s: dict[int, float] = field(default_factory=dict)

    def cpu_s(self) -> float:
        """CPU time of the whole tree since it was started; of those that ended, as last seen."""
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self._gone_cpu_s[process.pid] = times.user + times.system
        return sum(self._gone_cpu_s.values())

    def rss_mb(self) -> float:
        """Resident memory of the whole tree; what its processes share counts for each."""
        total = 0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total / 1e6

    def process_count(self) -> int:
        """Processes of the tree."""
        return len(self._tree())

    def _tree(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return [self.process, *self.process.children(recursive=True)]
        return []


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def started(
    command: Sequence[str | Path],
    port: int,
    request: bytes,
    variables: Mapping[str, str],
    folder: Path,
    log: Path,
) -> Iterator[Child]:
    """Run a server until the `with` ends. request: what it must answer with 200 to count as started.

    Raises DidNotStartError when it ends first, or does not answer within a minute.
    """
    with log.open("wb") as words:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env={**os.environ, **variables},
            stdout=words, stderr=words, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while not _answers(port, request):
                if process.poll() is not None or time.perf_counter() - began > _START_S:
                    raise DidNotStartError(_last_words(log) or "it did not answer within a minute")
                time.sleep(0.01)
            yield Child(psutil.Process(process.pid), port, time.perf_counter() - began)
        finally:
            _end(process)


def _answers(port: int, request: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.settimeout(20)
            connection.sendall(request)
            return connection.recv(64)[9:12] == b"200"
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """The server and those that it started, by their ids, first asked and then made to."""
    tree: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        tree = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    for left in tree:
        with contextlib.suppress(psutil.Error):
            left.terminate()
    _, alive = psutil.wait_procs(tree, 3)
    for left in alive:
        with contextlib.suppress(psutil.Error):
            left.kill()
    process.kill()
    process.wait()


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
