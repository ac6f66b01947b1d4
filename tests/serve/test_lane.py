from __future__ import annotations

import errno
import gc
import json
import socket
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pawloop.errors import OverloadedError
from pawloop.journal import Journal
from serve import outlet
from serve.answer import Answer, answering
from serve.jobs import Steps
from tests import published
from tests.serve.running import Running, answers, running, settings, until


def asked(photo: bytes, *headers: str) -> bytes:
    """A request, as it stands on the wire."""
    return posted("/predict", photo, *headers)


def posted(path: str, body: bytes, *headers: str) -> bytes:
    """A request for a path, likewise."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (published.photo("red"), {}),
        (b"no photo", {}),
        (b"words", {"content-type": "text/plain"}),
        (published.photo("red"), {"x-request-timeout-ms": "soon"}),
    ],
)
def test_the_short_way_and_the_long_way_answer_alike(
    server: Running, client: httpx.Client, content: bytes, headers: dict[str, str]
) -> None:
    short = client.post("/predict", content=content, headers=headers)
    long = client.post("/predict", content=content, headers={**headers, "origin": server.url})
    assert short.status_code == long.status_code
    assert short.headers["content-type"] == long.headers["content-type"]
    without_id = [{**response.json(), "id": ""} for response in (short, long)]
    assert without_id[0] == without_id[1]


@pytest.mark.parametrize("way", ["errands", "predict"])
def test_a_surprise_is_an_answer_without_our_inside(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(f"serve.{way}.answering", fail)
    photo = published.photo("red")
    sent: dict[str, Any] = {"errands": {"content": photo}, "predict": {"files": {"photo": photo}}}
    response = client.post("/predict", **sent[way])
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text


def test_requests_sent_before_the_first_is_answered_are_answered_in_their_order(server: Running) -> None:
    red, blue = published.photo("red"), published.photo("blue")
    health = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(asked(red) + asked(blue) + asked(red) + health)
        told = answers(connection, 4)
    assert [b'"cat", "probability"' in one for one in told] == [True, False, True, False]
    assert b'"dog", "probability"' in told[1]
    assert told[3].startswith(b"HTTP/1.1 200 ")


def test_two_requests_sent_right_after_an_answer_are_answered_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.champion(tmp_path / "store")
    gate = threading.Event()
    gate.set()

    def late(*given: Any, **named: Any) -> Steps[Answer]:
        gate.wait(10)
        return (yield from answering(*given, **named))

    monkeypatch.setattr("serve.errands.answering", late)
    health = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with (
        running(settings(tmp_path)) as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as connection,
    ):
        connection.sendall(asked(published.photo("red")))
        whole_answer(connection)
        gate.clear()
        connection.sendall(asked(published.photo("blue")) + health)
        time.sleep(0.2)  # what is done afterwards about the first answer is done by then
        gate.set()
        told = answers(connection, 2)
    assert b'"dog", "probability"' in told[0]
    assert b'"dog"' not in told[1]


def test_a_connection_that_is_to_close_is_closed_after_the_answer(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(asked(published.photo("red"), "Connection: close"))
        told = answers(connection, 2)
    assert len(told) == 1
    assert b"connection: close\r\n" in told[0]


def test_a_body_that_does_not_come_is_given_up_and_one_that_comes_in_pieces_is_not(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    whole = asked(published.photo("red"))
    with running(settings(tmp_path, upload_timeout_s=0.3)) as server:
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            for start in range(0, len(whole), 200):
                connection.sendall(whole[start : start + 200])
                time.sleep(0.01)
            assert answers(connection, 1)[0].startswith(b"HTTP/1.1 200 ")
            connection.sendall(whole[:-5])
            told = answers(connection, 2)
        assert [one[:12] for one in told] == [b"HTTP/1.1 408"]
        assert b"did not arrive within 0.3 s" in told[0]
        until(lambda: server.live.metrics.in_flight == 0)


CHUNKED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_body_that_goes_on_after_its_answer_is_given_up(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with (
        running(settings(tmp_path, upload_timeout_s=0.3)) as server,
        socket.create_connection(("127.0.0.1", server.port), 5) as connection,
    ):
        connection.sendall(CHUNKED)
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"1\r\nx\r\n")
        assert connection.recv(1 << 16) == b""  # or this waits for five seconds, and fails


def test_a_body_that_ends_after_its_answer_leaves_its_connection_as_it_was(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(CHUNKED)
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"1\r\nx\r\n0\r\n\r\n")
        connection.sendall(asked(published.photo("red")))
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 200 ")


def test_what_is_refused_at_once_keeps_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.champion(tmp_path / "store")
    gate = threading.Event()

    def late(*given: Any, **named: Any) -> Steps[Answer]:
        gate.wait(10)
        return (yield from answering(*given, **named))

    monkeypatch.setattr("serve.errands.answering", late)
    configured = settings(tmp_path, journal="", threads=1, queue=1)
    with running(configured) as server:
        photo = published.photo("red", (400, 300))
        leaving = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(2)]
        for connection in leaving:
            connection.sendall(asked(photo))
            time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            connection.sendall(asked(photo))
            refused = answers(connection, 1)[0]
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in refused
            for one in leaving:
                one.close()
            until(lambda: server.live.engine.waiting == 0)
            connection.sendall(asked(photo))
            until(lambda: server.live.engine.waiting == 1)
            gate.set()
            assert answers(connection, 1)[0].startswith(b"HTTP/1.1 200 ")
        until(lambda: server.live.metrics.in_flight == 0)
        # One whose thread was at it, and one that waited; neither was given an answer.
        assert server.live.metrics.requests["/predict", "POST", 499] == 2
        assert server.live.metrics.requests["/predict", "POST", 200] == 1
    assert configured.journal_url
    journal = Journal(configured.journal_url)
    assert len(list(journal.predictions("colours"))) == 1


def test_a_client_that_leaves_after_a_refusal_and_before_its_body_is_whole_leaves_nothing(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: float) -> None:
        raise OverloadedError("the queue is full")

    monkeypatch.setattr(server.live.engine, "admit", full)
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(asked(bytes(200_000))[:1000])
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 503 ")
        mine = connection.getsockname()
        [lane] = [one for one in server.server.server_state.connections if one.client == mine]
        known = weakref.ref(lane)
        del lane
    gc.disable()
    try:
        until(lambda: known() is None)
    finally:
        gc.enable()


def test_an_idle_connection_keeps_no_model_that_was_replaced(tmp_path: Path) -> None:
    configured = settings(tmp_path)
    published.champion(configured.store)
    with (
        running(configured) as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as connection,
    ):
        connection.sendall(asked(published.photo("red")))
        answers(connection, 1)
        old = weakref.ref(server.live.engine.serving)
        published.promote(configured.store, published.publish(configured.store))
        until(lambda: server.live.engine.serving.number == 2)
        until(lambda: old() is None)


class Narrow:
    """A socket that takes a few bytes and no more, as one whose client does not read."""

    def __init__(self, own: socket.socket, room: int) -> None:
        self._own, self._room = own, room

    def send(self, content: bytes) -> int:
        if not self._room:
            raise BlockingIOError
        return self._own.send(content[: self._room])

    def __getattr__(self, name: str) -> object:
        return getattr(self._own, name)


@pytest.mark.parametrize("room", [0, 1, 100])
def test_what_a_thread_cannot_send_whole_comes_all_the_same(
    server: Running, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    own = outlet.own_socket
    monkeypatch.setattr(outlet, "own_socket", lambda transport: Narrow(own(transport), room))
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        for _ in range(3):
            connection.sendall(asked(published.photo("red")))
            assert b'"cat", "probability"' in answers(connection, 1)[0]


def test_without_descriptors_left_the_loop_sends(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(outlet, "own_socket", none_left)
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(asked(published.photo("red")))
        assert b'"cat", "probability"' in answers(connection, 1)[0]


def test_an_answer_to_a_client_that_left_goes_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.champion(tmp_path / "store")
    gate, has_begun = threading.Event(), threading.Event()

    def late(*given: Any, **named: Any) -> Steps[Answer]:
        has_begun.set()
        gate.wait(10)
        return (yield from answering(*given, **named))

    monkeypatch.setattr("serve.errands.answering", late)
    with running(settings(tmp_path, threads=1)) as server:
        leaving = socket.create_connection(("127.0.0.1", server.port), 10)
        leaving.sendall(asked(published.photo("red")))
        assert has_begun.wait(10)
        leaving.close()
        until(lambda: len(server.server.server_state.connections) == 0)
        others = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(20)]
        gate.set()
        until(lambda: server.live.metrics.in_flight == 0)
        for one in others:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(1)
            one.close()


def test_an_answer_is_counted_and_its_connection_idles_soon_after(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with (
        running(settings(tmp_path)) as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as connection,
    ):
        for _ in range(3):
            connection.sendall(asked(published.photo("red")))
            answers(connection, 1)
        until(lambda: server.live.metrics.requests.get(("/predict", "POST", 200)) == 3)
        assert server.live.metrics.in_flight == 0
        assert sum(server.live.metrics.total_s.counts) == 3
        [protocol] = server.server.server_state.connections
        until(lambda: protocol.timeout_keep_alive_task is not None)


def tensor(
    count: int = 1,
    outputs: list[dict[str, Any]] | None = None,
    shape: list[int] | None = None,
    **more: Any,
) -> tuple[bytes, int]:
    """A call for pixels in binary, and the length of its JSON. shape: another one, of a single value."""
    pixels = np.full((count, published.SIZE, published.SIZE, 3), (255, 0, 0), np.uint8)
    if shape is not None:
        pixels = np.zeros(1, np.uint8)
    stated = list(pixels.shape) if shape is None else shape
    image: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": stated}
    image["parameters"] = {"binary_data_size": pixels.size}
    head = json.dumps({"inputs": [image], "outputs": outputs or [], **more}).encode()
    return head + pixels.tobytes(), len(head)


CLASSIFIED = [{"name": "probabilities", "parameters": {"classification": 1}}]
BINARY = [{"name": "probabilities", "parameters": {"binary_data": True}}]


@pytest.mark.parametrize(
    ("body", "length"),
    [
        tensor(),
        tensor(id="7"),
        tensor(outputs=BINARY),
        tensor(outputs=CLASSIFIED),
        tensor(parameters={"binary_data_output": True, "timeout": 5_000_000}),
        tensor(count=3),
        tensor(shape=[]),
        tensor(shape=[1] * 70),
        tensor(parameters={"timeout": 10**400}),
        tensor(outputs=[{"name": "nonsense"}]),
        (tensor()[0][:-1], tensor()[1]),
        (tensor()[0], "9" * 5000),
        (b"no json", 7),
        (b"no json", 9),
        (b'{"inputs": [{"name": "photo", "datatype": "BYTES", "shape": [0], "data": []}]}', 79),
    ],
)
def test_pixels_are_answered_alike_on_the_short_and_the_long_way(
    server: Running, body: bytes, length: int | str
) -> None:
    path = "/v2/models/colours/infer"
    header = f"Inference-Header-Content-Length: {length}"
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        told = []
        for origin in ([], ["Origin: http://localhost"]):
            connection.sendall(posted(path, body, header, *origin))
            told.append(whole_answer(connection))
    (short_head, short_body), (long_head, long_body) = told
    assert short_body == long_body
    assert short_head == long_head


def test_pixels_go_the_short_way(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.infer._compressed", None)  # with which the long way ends
    body, length = tensor(outputs=BINARY)
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        header = f"Inference-Header-Content-Length: {length}"
        connection.sendall(posted("/v2/models/colours/infer", body, header))
        head, _ = whole_answer(connection)
    assert b"HTTP/1.1 200 OK" in head


def whole_answer(connection: socket.socket) -> tuple[set[bytes], bytes]:
    """The lines of an answer's head but the time, and its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(1 << 16)
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    [length] = [int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")]
    while len(body) < length:
        body += connection.recv(1 << 16)
    return {line for line in lines if not line.startswith(b"date")}, body
