"""What a slow, huge or impatient client gets, on the wire."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pawloop.journal import Journal
from serve import uploads
from serve.answer import Answer, answering
from serve.jobs import Steps
from tests import published
from tests.serve.running import running, settings, until

RED = published.photo("red")


def test_a_slow_upload_is_cut_by_time(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with (
        running(settings(tmp_path, upload_timeout_s=0.3)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.settimeout(5)
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
        answer = connection.recv(4096)
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("more", ["", "Origin: http://127.0.0.1:%d\r\n"])
def test_the_time_that_a_body_takes_is_none_that_its_photo_waits(tmp_path: Path, more: str) -> None:
    published.champion(tmp_path / "store")
    with (
        running(settings(tmp_path, timeout_ms=300)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.settimeout(5)
        origin = more and more % server.port
        head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{origin}"
        connection.sendall(f"{head}Content-Length: {len(RED)}\r\n\r\n".encode() + RED[:100])
        time.sleep(0.5)
        connection.sendall(RED[100:])
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("more", ["", "Origin: http://127.0.0.1:%d\r\n"])
def test_many_bodies_under_way_are_limited_together(
    tmp_path: Path, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_ARRIVING_BYTES", 0)
    published.champion(tmp_path / "store")
    half = b"x" * 4_000_000
    with running(settings(tmp_path, max_bytes=5_000_000)) as server, ExitStack() as stack:
        origin = more and more % server.port
        head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{origin}"
        connections = []
        for _ in range(3):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.settimeout(5)
            connection.sendall(f"{head}Content-Length: {len(half) + 1}\r\n\r\n".encode() + half)
            connections.append(connection)
        readable, _, _ = select.select(connections, [], [], 5)
        answers = [connection.recv(4096) for connection in readable]
        assert [answer.split(b" ")[1] for answer in answers] == [b"503"]
        assert b"retry-after" in answers[0].lower()
        for connection in connections:
            connection.close()
        with server.client() as client:
            assert client.post("/predict", content=RED).status_code == 200
            large = {"photo": RED + bytes(4_000_000)}
            assert client.post("/predict", files=large).status_code == 200


@pytest.mark.parametrize("more", [{}, {"Origin": "http://127.0.0.1:%d"}])
def test_photos_of_a_client_that_left_are_given_up(
    tmp_path: Path, more: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def slow(*given: Any, **named: Any) -> Steps[Answer]:
        begun.append(1)
        time.sleep(0.05)
        return (yield from answering(*given, **named))

    monkeypatch.setattr("serve.predict.answering", slow)
    published.champion(tmp_path / "store")
    configured = settings(tmp_path, journal="", threads=1)
    photos = [("photo", RED)] * 100
    with running(configured) as server:
        headers = {name: value % server.port for name, value in more.items()}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/predict", files=photos, headers=headers, timeout=0.5)
        until(lambda: server.live.metrics.in_flight == 0, 2)
        assert server.live.metrics.requests["/predict", "POST", 499] == 1
        assert 0 < len(begun) < 50
    assert configured.journal_url
    assert list(Journal(configured.journal_url).predictions("colours")) == []


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    photo = published.encoded(np.zeros((400, 400, 3), np.uint8))
    with running(settings(tmp_path, max_pixels=100_000)) as server, server.client() as client:
        refused = client.post("/predict", content=photo)
    assert refused.status_code == 413
    assert "100,000" in refused.json()["detail"]


def test_what_cannot_be_answered_before_the_clients_deadline_is_refused_at_once(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with running(settings(tmp_path, threads=1)) as server:
        engine = server.live.engine
        engine.job_s = 0.5
        over = threading.Event()

        def keep_busy() -> None:
            with server.client() as client:
                while not over.is_set():
                    client.post("/predict", files=[("photo", RED)] * 200)

        threads = [threading.Thread(target=keep_busy) for _ in range(3)]
        for thread in threads:
            thread.start()
        refusals: list[tuple[httpx.Response, float]] = []
        with server.client() as client:
            end = time.monotonic() + 10
            while not refusals and time.monotonic() < end:
                engine.job_s = 0.5
                started = time.monotonic()
                response = client.post("/predict", content=RED, headers={"x-request-timeout-ms": "100"})
                if response.status_code == 503:
                    refusals.append((response, time.monotonic() - started))
        over.set()
        for thread in threads:
            thread.join()
    ((response, took),) = refusals
    assert "deadline" in response.json()["detail"]
    assert int(response.headers["retry-after"]) >= 1
    assert took < 0.5
