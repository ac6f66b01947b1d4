"""Random conversations: whatever a client sends by a connection, and however, is answered in its order.

Most of it is what lends a connection to the threads, the rest is what brings it home.
"""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests import published
from tests.serve.running import Running, until
from tests.serve.test_lane import asked, posted
from tests.serve.test_lent import HEALTH

CONVERSATIONS = 60
CLIENTS = 4
PHOTOS = {b"cat": published.photo("red"), b"dog": published.photo("blue")}


@dataclass(frozen=True)
class Request:
    """What is sent, and what comes back."""

    sent: bytes
    status: int
    label: bytes = b""


def photo(rng: random.Random, *headers: str) -> Request:
    label = rng.choice(list(PHOTOS))
    padding = bytes(rng.choice([0, 0, 0, 5, 1000, 20_000]))  # lengths of as many digits and more
    return Request(asked(PHOTOS[label] + padding, *headers), 200, label)


def numbered(rng: random.Random) -> Request:
    return photo(rng, f"X-Request-Id: {rng.randrange(10**6)}")


def hurried(rng: random.Random) -> Request:
    return photo(rng, "X-Request-Timeout-Ms: 9000")


def chunked(rng: random.Random) -> Request:
    label = rng.choice(list(PHOTOS))
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PHOTOS[label]), PHOTOS[label])
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Request(head + chunk, 200, label)


def broken(rng: random.Random) -> Request:
    return Request(asked(b"no photo" * rng.randrange(20)), 400)


def health(_: random.Random) -> Request:
    return Request(HEALTH, 200)


def nowhere(_: random.Random) -> Request:
    return Request(posted("/nowhere", b"x"), 404)


KINDS: list[Callable[[random.Random], Request]] = [
    *[photo] * 8, numbered, hurried, chunked, broken, broken, health, nowhere,
]  # fmt: skip


class Client:
    """One connection, and what was sent by it so far."""

    def __init__(self, port: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.connection = socket.create_connection(("127.0.0.1", port), 20)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.story = [f"seed {seed}"]

    def talk(self) -> None:
        with self.connection:
            for _ in range(self.rng.choice([3, 8, 20])):
                way = self.rng.choice(
                    [self.whole, self.whole, self.alike, self.pieces, self.together, self.ahead]
                )
                self.story.append(way.__name__)
                way()
            if self.rng.random() < 0.5:  # it leaves in the midst of something
                self.connection.sendall(self.any().sent[: self.rng.randrange(1, 2000)])

    def any(self) -> Request:
        return self.rng.choice(KINDS)(self.rng)

    def whole(self) -> None:
        self._send(request := self.any())
        self._hear(request)

    def alike(self) -> None:
        for _ in range(self.rng.randrange(2, 6)):
            self._send(request := photo(self.rng))
            self._hear(request)
        time.sleep(self.rng.choice([0, 0, 0, 0.5]))  # as long as a lent connection is left alone

    def pieces(self) -> None:
        request = self.any()
        cut = self.rng.randrange(len(request.sent))
        for piece in (request.sent[:cut], request.sent[cut:]):
            self.connection.sendall(piece)
            time.sleep(self.rng.choice([0, 0.001, 0.01]))
        self._hear(request)

    def together(self) -> None:
        requests = [self.any() for _ in range(self.rng.randrange(2, 5))]
        self._send(*requests)
        for request in requests:
            self._hear(request)

    def ahead(self) -> None:
        first, second = self.any(), self.any()
        cut = self.rng.randrange(len(second.sent))
        self._send(first)
        time.sleep(self.rng.choice([0, 0.0005, 0.003]))
        self.connection.sendall(second.sent[:cut])
        self._hear(first)
        self.connection.sendall(second.sent[cut:])
        self._hear(second)

    def _send(self, *requests: Request) -> None:
        self.connection.sendall(b"".join(request.sent for request in requests))

    def _hear(self, request: Request) -> None:
        self._receive(lambda: b"\r\n\r\n" in self.received)
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        assert length is not None
        size = int(length[1])
        self._receive(lambda: len(self.received) >= size)
        body, self.received = self.received[:size], self.received[size:]
        assert head.startswith(b"HTTP/1.1 %d " % request.status), (self.story, head)
        assert b'"label":"%s"' % request.label in body.replace(b" ", b"") or not request.label, self.story

    def _receive(self, is_enough: Callable[[], bool]) -> None:
        while not is_enough():
            piece = self.connection.recv(1 << 16)
            assert piece, (self.story, "the server closed the connection")
            self.received += piece


def test_conversations_at_once_get_their_own_answers_and_leave_nothing(server: Running) -> None:
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(lambda seed: Client(server.port, seed).talk(), range(CONVERSATIONS)))
    until(lambda: server.live.in_flight == 0)
    until(lambda: not server.server.server_state.connections)
