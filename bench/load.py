"""The load generator: a process of its own that asks, waits and notes, as cheaply as Python can.

One loop over raw sockets; requests are made beforehand. Closed: N connections, each asking again once it is
answered. Open: requests come at a rate whatever the server does, and their time counts from when they were
due. It reports its own CPU time, which the server's cores had to give. Knows HTTP/1.1 as far as answers
with a Content-Length go; knows nothing about what is asked.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LAST_ANSWERS_S: Final = 3.0
_MOST_CONNECTIONS: Final = 900
_LAST_CHUNK: Final = b"0\r\n\r\n"
_FAILED: Final = 0  # in the place of a status


@dataclass
class _Connection:
    socket: socket.socket
    due: float = 0.0
    rest: memoryview | bytes = b""
    received: bytes = b""
    missing: int = -1  # bytes of the answer's body, -1 while its head is incomplete
    status: int = 0
    closes: bool = False


class Load:
    """One run. answers: (when it ended, seconds it took, status), the first counted from the start."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._address = ("127.0.0.1", port)
        self._requests = [memoryview(request) for request in requests]
        self._next = 0
        self._selector = selectors.DefaultSelector()
        self._idle: deque[_Connection] = deque()
        self._open = 0
        self._is_closed_loop = True
        self._started = 0.0
        self._ends = 0.0
        self.answers: list[tuple[float, float, int]] = []
        self.unsent = 0

    def closed(self, connections: int, seconds: float, count: int = 0) -> None:
        """count: end after so many answers, if that is sooner."""
        self._begin(seconds)
        for _ in range(connections):
            self._ask(self._connected(), time.perf_counter())
        while self._now() < seconds and not (count and len(self.answers) >= count):
            self._turn(0.1)

    def open(self, rate: float, seconds: float) -> None:
        """rate: requests a second, evenly spaced."""
        self._is_closed_loop = False
        self._begin(seconds)
        asked = 0
        while (now := self._now()) < seconds + _LAST_ANSWERS_S:
            if now < seconds:
                while asked < int(now * rate):
                    self._ask_openly(self._started + asked / rate)
                    asked += 1
                self._turn(max(0.0, min((asked + 1) / rate - self._now(), 0.01)))
            elif self._open == len(self._idle):
                break
            else:
                self._turn(0.1)
        self.unsent += self._open - len(self._idle)

    def _begin(self, seconds: float) -> None:
        self._started = time.perf_counter()
        self._ends = self._started + seconds

    def _now(self) -> float:
        return time.perf_counter() - self._started

    def _connected(self) -> _Connection:
        plain = socket.create_connection(self._address)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setblocking(False)
        connection = _Connection(plain)
        self._selector.register(plain, selectors.EVENT_READ, connection)
        self._open += 1
        return connection

    def _ask_openly(self, due: float) -> None:
        if not self._idle and self._open >= _MOST_CONNECTIONS:
            self.unsent += 1
            return
        try:
            self._ask(self._idle.popleft() if self._idle else self._connected(), due)
        except OSError:
            self.answers.append((self._now(), 0.0, _FAILED))

    def _ask(self, connection: _Connection, due: float) -> None:
        connection.due = due
        connection.received, connection.missing, connection.closes = b"", -1, False
        connection.rest = self._requests[self._next]
        self._next = (self._next + 1) % len(self._requests)
        self._send(connection)

    def _send(self, connection: _Connection) -> None:
        try:
            connection.rest = connection.rest[connection.socket.send(connection.rest) :]
        except BlockingIOError:
            pass
        except OSError:
            self._fail(connection)
            return
        if connection.rest:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(connection.socket, both, connection)

    def _turn(self, timeout_s: float) -> None:
        for key, events in self._selector.select(timeout_s):
            connection: _Connection = key.data
            if events & selectors.EVENT_WRITE:
                self._selector.modify(connection.socket, selectors.EVENT_READ, connection)
                self._send(connection)
            if events & selectors.EVENT_READ and connection.socket.fileno() >= 0:
                self._receive(connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            piece = connection.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._fail(connection)
            return
        if connection.missing < 0:
            connection.received += piece
            head, found, body = connection.received.partition(b"\r\n\r\n")
            if not found:
                return
            lowered = head.lower()
            connection.status = int(head[9:12])
            connection.closes = b"connection: close" in lowered
            length = lowered.partition(b"content-length:")[2].partition(b"\r\n")[0]
            if not length:  # in chunks
                connection.missing = 0 if body.endswith(_LAST_CHUNK) else -1
            else:
                connection.missing = int(length) - len(body)
            if connection.missing < 0 and not length:
                return
        else:
            connection.missing -= len(piece)
        if connection.missing <= 0:
            self._end(connection, connection.status)

    def _end(self, connection: _Connection, status: int) -> None:
        now = time.perf_counter()
        self.answers.append((now - self._started, now - connection.due, status))
        if connection.closes or connection.rest:
            self._close(connection)
            connection = self._connected() if self._is_closed_loop else connection
            if not self._is_closed_loop:
                return
        if self._is_closed_loop:
            if now < self._ends:
                self._ask(connection, now)
        else:
            self._idle.append(connection)

    def _fail(self, connection: _Connection) -> None:
        connection.closes = True
        was_idle = connection in self._idle
        if was_idle:
            self._idle.remove(connection)
            self._close(connection)
        else:
            self._end(connection, _FAILED)

    def _close(self, connection: _Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._open -= 1


def main(plan: dict[str, float | str]) -> None:
    """Do what a plan says, as `bench.firing` makes it, and print what came of it, one JSON object."""
    folder = Path(str(plan["requests"]))
    load = Load(int(plan["port"]), [path.read_bytes() for path in sorted(folder.iterdir())])
    cpu, began = time.process_time(), time.perf_counter()
    if plan.get("rate"):
        load.open(float(plan["rate"]), float(plan["seconds"]))
    else:
        load.closed(int(plan["connections"]), float(plan["seconds"]), int(plan.get("count", 0)))
    seconds = time.perf_counter() - began
    answers = [(round(at, 4), round(1000 * took, 3), status) for at, took, status in load.answers]
    told = {"cpu_s": time.process_time() - cpu, "seconds": seconds, "unsent": load.unsent, "answers": answers}
    print(json.dumps(told))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
