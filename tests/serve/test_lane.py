from __future__ import annotations

import socket
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.answer import Answer, answer
from tests import published
from tests.serve.running import Running, running, settings, until


def asked(photo: bytes, *headers: str) -> bytes:
    """A request, as it stands on the wire."""
    lines = ["POST /predict HTTP/1.1", "Host: x", f"Content-Length: {len(photo)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + photo


def answers(connection: socket.socket, count: int) -> list[bytes]:
    """So many answers of one connection, or fewer where it closes."""
    received = b""
    while received.count(b"HTTP/1.1 ") < count or not received.endswith(b"}"):
        piece = connection.recv(1 << 16)
        if not piece:
            break
        received += piece
    return [b"HTTP/1.1 " + one for one in received.split(b"HTTP/1.1 ")[1:]]


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


@pytest.mark.parametrize("way", ["lane", "predict"])
def test_a_surprise_is_an_answer_without_our_inside(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(f"serve.{way}.answer", fail)
    photo = published.photo("red")
    sent: dict[str, Any] = {"lane": {"content": photo}, "predict": {"files": {"photo": photo}}}
    response = client.post("/predict", **sent[way])
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text


def test_requests_sent_before_the_first_is_answered_are_answered_in_their_order(server: Running) -> None:
    red, blue = published.photo("red"), published.photo("blue")
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(asked(red) + asked(blue) + asked(red) + health)
        told = answers(connection, 4)
    assert [b'"cat", "probability"' in one for one in told] == [True, False, True, False]
    assert b'"dog", "probability"' in told[1]
    assert told[3].startswith(b"HTTP/1.1 200 ")


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


def test_what_is_refused_at_once_keeps_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.champion(tmp_path / "store")
    gate = threading.Event()

    def late(*given: Any, **named: Any) -> Answer:
        gate.wait(10)
        return answer(*given, **named)

    monkeypatch.setattr("serve.lane.answer", late)
    with running(settings(tmp_path, threads=1, queue=1)) as server:
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
        until(lambda: server.live.metrics.in_flight == 0)
        assert server.live.metrics.requests["/predict", "POST", 499] >= 1


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
