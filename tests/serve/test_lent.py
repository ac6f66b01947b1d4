"""Connections that are lent to the inference threads behave as those that are not."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pawloop.journal import Journal
from pawloop.registry import Registry
from serve.answer import Answer, answering
from serve.jobs import Steps
from serve.lending import LendingLane
from serve.lent import Head
from serve.porch import Porch, WatchingPorch
from tests import published
from tests.serve.running import Running, answers, running, settings, until
from tests.serve.test_lane import asked, posted, tensor, whole_answer

RED, BLUE = published.photo("red"), published.photo("blue")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
CAN_WATCH = hasattr(select, "epoll") and hasattr(os, "eventfd")
pytestmark = pytest.mark.skipif(not CAN_WATCH, reason="only Linux has epoll")


@contextmanager
def lent(server: Running) -> Iterator[socket.socket]:
    """A connection that has been lent."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        lend(server, connection)
        yield connection


def lend(server: Running, connection: socket.socket) -> None:
    """Ask often enough by a connection."""
    for _ in range(2):
        connection.sendall(asked(RED))
        assert b'"cat", "probability"' in answers(connection, 1)[0]
    until(lambda: is_lent(server, connection) and server.live.in_flight == 0)


def is_lent(server: Running, connection: socket.socket) -> bool:
    return lane(server, connection)._lent is not None


def lane(server: Running, connection: socket.socket) -> LendingLane:
    mine = connection.getsockname()
    [found] = [one for one in server.server.server_state.connections if one.client == mine]
    assert isinstance(found, LendingLane)
    return found


def counted(server: Running, status: int) -> int:
    return server.live.metrics.requests.get(("/predict", "POST", status), 0)


class Gate:
    """Answers that wait until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()
        self.opened.set()
        monkeypatch.setattr("serve.errands.answering", self._late)

    def close(self) -> None:
        self.reached.clear()
        self.opened.clear()

    def open(self) -> None:
        self.opened.set()

    def _late(self, *given: Any, **named: Any) -> Steps[Answer]:
        self.reached.set()
        self.opened.wait(10)
        return (yield from answering(*given, **named))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a server of this test's own."""
    published.champion(tmp_path / "store")
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(running(settings(tmp_path, **changes)))


def test_whatever_comes_by_a_lent_connection_is_answered_in_its_order(server: Running) -> None:
    kinds = [
        (asked(BLUE), 200, b'"dog", "probability"'),
        (asked(b"no photo"), 400, b"not an image"),
        (asked(RED, "X-Request-Id: 7"), 200, b'"cat", "probability"'),
        (HEALTH, 200, b""),
        (asked(RED, "Origin: http://elsewhere"), 403, b""),
        (posted("/nowhere", b"x"), 404, b""),
    ]
    for request, status, words in kinds:
        with lent(server) as connection:
            connection.sendall(request)
            [told] = answers(connection, 1)
            assert told.startswith(b"HTTP/1.1 %d " % status), request[:40]
            assert words in told
            connection.sendall(asked(BLUE))
            assert b'"dog", "probability"' in answers(connection, 1)[0]


def test_a_client_whose_heads_differ_is_not_lent(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        for number in range(4):
            connection.sendall(asked(BLUE, f"X-Request-Id: {number}"))
            assert b'"dog", "probability"' in answers(connection, 1)[0]
            assert not is_lent(server, connection)


def test_two_requests_at_once_by_a_lent_connection_are_answered_in_their_order(server: Running) -> None:
    with lent(server) as connection:
        connection.sendall(asked(BLUE) + asked(RED) + HEALTH)
        told = answers(connection, 3)
    assert [b'"dog", "probability"' in one for one in told] == [True, False, False]
    assert b'"cat", "probability"' in told[1]


def test_a_lent_connection_is_answered_without_the_event_loop(server: Running) -> None:
    with lent(server) as connection:
        protocol = lane(server, connection)
        protocol.data_received = None  # type: ignore[method-assign,assignment]  # what the loop would call
        for photo, label in ((BLUE, b'"dog"'), (RED, b'"cat"'), (BLUE, b'"dog"')):
            connection.sendall(asked(photo))
            assert label + b', "probability"' in answers(connection, 1)[0]
        del protocol.data_received


def test_a_request_in_pieces_by_a_lent_connection_is_answered_or_given_up(
    started: Callable[..., Running],
) -> None:
    server = started(upload_timeout_s=0.3)
    whole = asked(BLUE)
    with lent(server) as connection:
        for start in range(0, len(whole), 200):
            connection.sendall(whole[start : start + 200])
            time.sleep(0.01)
        assert b'"dog", "probability"' in answers(connection, 1)[0]
        lend(server, connection)
        connection.sendall(whole[:-5])
        assert [one[:12] for one in answers(connection, 2)] == [b"HTTP/1.1 408"]
    until(lambda: server.live.in_flight == 0)


def test_pixels_come_by_lent_connections_too(server: Running) -> None:
    body, length = tensor(outputs=[{"name": "probabilities", "parameters": {"binary_data": True}}])
    request = posted("/v2/models/colours/infer", body, f"Inference-Header-Content-Length: {length}")
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        told = []
        for _ in range(4):
            connection.sendall(request)
            told.append(whole_answer(connection))
        assert is_lent(server, connection)
    assert told[3] == told[0]


def test_what_threads_read_is_counted_and_journaled(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    configured = settings(tmp_path, journal="")
    with running(configured) as server, lent(server) as connection:
        for _ in range(3):
            connection.sendall(asked(BLUE))
            answers(connection, 1)
        until(lambda: counted(server, 200) == 5)
        assert sum(server.live.metrics.total_s.counts) == 5
        until(lambda: server.server.server_state.total_requests == 5)
        assert server.live.in_flight == 0
    assert configured.journal_url
    labels = [one.label for one in Journal(configured.journal_url).predictions("colours")]
    assert sorted(labels) == ["cat"] * 2 + ["dog"] * 3


def test_a_request_in_a_lent_connection_is_in_flight(started: Callable[..., Running], gate: Gate) -> None:
    server = started()
    with lent(server) as connection:
        gate.close()
        connection.sendall(asked(BLUE))
        assert gate.reached.wait(10)
        assert server.live.in_flight == 1
        gate.open()
        answers(connection, 1)
        until(lambda: server.live.in_flight == 0)


def test_a_client_that_leaves_a_lent_connection_was_given_no_answer(
    started: Callable[..., Running], gate: Gate
) -> None:
    server = started(threads=1)
    with lent(server) as waiting, lent(server) as running_one:
        until(lambda: counted(server, 200) == 4)
        gate.close()
        running_one.sendall(asked(BLUE))
        assert gate.reached.wait(10)
        waiting.sendall(asked(BLUE))
        until(lambda: server.live.engine.waiting == 1)
        waiting.close()
        until(lambda: server.live.engine.waiting == 0)  # its place is free while the thread is busy
        running_one.close()
        time.sleep(0.05)
        gate.open()
        until(lambda: not server.server.server_state.connections)
    until(lambda: counted(server, 499) == 2)
    assert counted(server, 200) == 4
    assert server.live.in_flight == 0


def test_a_full_queue_refuses_lent_connections_too(started: Callable[..., Running], gate: Gate) -> None:
    server = started(threads=1, queue=1)
    with lent(server) as first, lent(server) as second, lent(server) as third:
        gate.close()
        first.sendall(asked(BLUE))
        assert gate.reached.wait(10)
        second.sendall(asked(BLUE))
        until(lambda: server.live.engine.waiting == 1)
        third.sendall(asked(BLUE))
        assert answers(third, 1)[0].startswith(b"HTTP/1.1 503 ")
        gate.open()
        for one in (first, second):
            assert answers(one, 1)[0].startswith(b"HTTP/1.1 200 ")
        third.sendall(asked(BLUE))
        assert answers(third, 1)[0].startswith(b"HTTP/1.1 200 ")


def test_in_a_crowd_everybody_gets_the_answer_to_their_own_photo(
    started: Callable[..., Running], gate: Gate
) -> None:
    kinds = [(BLUE, b'"dog", "probability"'), (RED, b'"cat", "probability"'), (b"no photo", b"not an image")]
    server = started(threads=1, queue=16)
    with ExitStack() as stack:
        first, *others = [stack.enter_context(lent(server)) for _ in range(12)]
        gate.close()
        first.sendall(asked(BLUE))
        assert gate.reached.wait(10)
        crowd = list(zip(others, kinds * 4, strict=False))
        for connection, (photo, _) in crowd:
            connection.sendall(asked(photo))
        until(lambda: server.live.engine.waiting == len(others))
        gate.open()
        for connection, (_, words) in [(first, kinds[0]), *crowd]:
            assert words in answers(connection, 1)[0]
        until(lambda: server.live.in_flight == 0)


def test_a_deadline_that_passes_in_the_queue_is_told_to_lent_connections_too(
    started: Callable[..., Running], gate: Gate
) -> None:
    server = started(threads=1, timeout_ms=400)
    with lent(server) as first, lent(server) as second:
        gate.close()
        first.sendall(asked(BLUE))
        assert gate.reached.wait(10)
        second.sendall(asked(BLUE))
        [told] = answers(second, 1)
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"deadline passed" in told
        gate.open()
        assert answers(first, 1)[0].startswith(b"HTTP/1.1 200 ")


def test_a_lent_connection_that_idles_goes_home_and_is_closed_in_time(
    started: Callable[..., Running],
) -> None:
    server = started(keep_alive_s=1)
    with lent(server) as connection:
        assert lane(server, connection).timeout_keep_alive_task is None
        until(lambda: not is_lent(server, connection))
        until(lambda: server.live.afterwards._expected == 0)
        assert connection.recv(1) == b""


def test_a_client_that_closes_an_idle_lent_connection_leaves_nothing(server: Running) -> None:
    with lent(server) as connection:
        known = weakref.ref(lane(server, connection))
    gc.disable()
    try:
        until(lambda: known() is None)
    finally:
        gc.enable()


def test_a_server_that_stops_answers_what_came_by_lent_connections(tmp_path: Path, gate: Gate) -> None:
    published.champion(tmp_path / "store")
    with running(settings(tmp_path, threads=1)) as server:
        connections = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(5)]
        for one in connections:
            lend(server, one)
        *busy, idle = connections
        gate.close()
        for one in busy:
            one.sendall(asked(BLUE))
        assert gate.reached.wait(10)
        server.server.should_exit = True
        time.sleep(0.3)
        gate.open()
        told = [answers(one, 2) for one in busy]
        assert idle.recv(1) == b""
    for one in told:
        [head] = one
        assert b'"dog", "probability"' in head
    for one in connections:
        one.close()


def test_a_lent_connection_is_followed_by_a_challenger_and_sees_a_new_champion(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    configured = settings(tmp_path, journal="")
    with running(configured) as server, lent(server) as connection:
        second = published.publish(configured.store)
        published.promote(configured.store, second)
        until(lambda: server.live.engine.serving.number == 2)
        connection.sendall(asked(BLUE))
        assert b'"version": 2' in answers(connection, 1)[0]
        third = published.publish(configured.store)
        Registry(configured.store, "colours").nominate(third.number)
        until(lambda: server.live.shadow.number == third.number)
        connection.sendall(asked(BLUE))
        answers(connection, 1)
        until(lambda: server.live.shadow.answered == 1)


def test_a_system_without_epoll_lends_nothing_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.champion(tmp_path / "store")
    monkeypatch.setattr("serve.engine.porch", Porch)
    with (
        running(settings(tmp_path)) as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as connection,
    ):
        for _ in range(5):
            connection.sendall(asked(BLUE))
            assert b'"dog", "probability"' in answers(connection, 1)[0]
        assert not is_lent(server, connection)


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (b"POST /predict HTTP/1.1\r\nContent-Length: 3\r\nHost: a\r\n\r\nabc", b"abc"),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 10\r\nHost: a\r\n\r\n0123456789", b"0123456789"),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 4\r\nHost: a\r\n\r\nabc", None),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 2\r\nHost: a\r\n\r\nabc", None),
        (b"POST /predict HTTP/1.1\r\nContent-Length: +3\r\nHost: a\r\n\r\nabc", None),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 3\r\nHost: b\r\n\r\nabc", None),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 3", None),
        (b"POST /predict HTTP/1.1\r\nContent-Length: \r\nHost: a\r\n\r\n", None),
        (b"", None),
    ],
)
def test_a_request_is_plain_when_all_but_the_length_is_as_it_was(request_: bytes, body: bytes | None) -> None:
    head = Head.of(b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nHost: a\r\n\r\nfirst")
    assert head is not None
    assert head.body(request_) == body


@pytest.mark.parametrize(
    "read",
    [
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nfour",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nfive!POST",
        b"POST / HTTP/1.1\r\nX-Content-Length: 5\r\n\r\nfive!",
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\nContent-Length: 5\r\n\r\nfive!",
        b"POST / HTTP/1.1\r\n",
        b"",
    ],
)
def test_a_read_that_is_not_one_request_teaches_no_head(read: bytes) -> None:
    assert Head.of(read) is None


def test_nobody_is_found_twice_and_every_ring_wakes_one() -> None:
    porch: WatchingPorch[str] = WatchingPorch()
    ours, theirs = socket.socketpair()
    woken: list[list[str]] = []
    with ours, theirs:
        porch.expect(ours, "somebody")
        assert porch.look(()) == []
        theirs.send(b"x")
        assert porch.look(()) == ["somebody"]
        assert porch.look(()) == []
        porch.expect(ours, "somebody")
        assert porch.take_back(ours)
        assert not porch.take_back(ours)
        assert porch.look(()) == []
        threads = [threading.Thread(target=lambda: woken.append(porch.sleep())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for count in (1, 2):
            porch.ring()
            until(lambda count=count: len(woken) == count)  # type: ignore[misc]
        porch.expect(ours, "somebody")
        until(lambda: len(woken) == 3)
        for thread in threads:
            thread.join(5)
        porch.forget(ours)
    porch.close()
    assert woken == [[], [], ["somebody"]]


@contextmanager
def sleeping(porch: WatchingPorch[str]) -> Iterator[list[list[str]]]:
    """What a thread is woken by that sleeps again and again."""
    woken: list[list[str]] = []
    is_over = threading.Event()

    def sleep() -> None:
        while not is_over.is_set():
            woken.append(porch.sleep())

    thread = threading.Thread(target=sleep)
    thread.start()
    try:
        yield woken
    finally:
        is_over.set()
        porch.ring()
        thread.join(5)


def test_a_connection_that_ends_once_it_is_expected_no_longer_keeps_nobody_awake() -> None:
    porch: WatchingPorch[str] = WatchingPorch()
    ours, theirs = socket.socketpair()
    with ours:
        porch.expect(ours, "somebody")
        assert porch.take_back(ours)
        theirs.close()
        with sleeping(porch) as woken:
            time.sleep(0.1)
            assert len(woken) <= 1
        porch.forget(ours)
    porch.close()


def test_a_ring_is_left_for_those_who_sleep_and_for_nobody_else() -> None:
    porch: WatchingPorch[str] = WatchingPorch()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        porch.expect(ours, "somebody")
        for sleepers, count in (((1,), 1), ((), 0)):
            porch.ring()
            assert porch.look(sleepers) == []
            with sleeping(porch) as woken:
                time.sleep(0.1)
                assert len(woken) == count
        porch.forget(ours)
    porch.close()


def test_where_the_system_watches_no_more_the_loop_reads_on(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(server.live.engine._porch, "expect", full)
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        for _ in range(5):
            connection.sendall(asked(RED))
            [answer] = answers(connection, 1)
            assert b'"cat", "probability"' in answer
        until(lambda: not is_lent(server, connection) and server.live.in_flight == 0)
    assert counted(server, 500) == 0
