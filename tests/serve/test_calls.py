from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from serve.app import create_app
from serve.calls import Logged
from tests import published
from tests.serve.running import running, settings


def test_a_call_is_a_line_of_json_with_the_prediction_that_it_made(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    lines: list[bytes] = []
    with TestClient(Logged(create_app(settings(tmp_path)), lines.append)) as client:
        made = client.post("/predict", content=published.photo("red")).json()
        files = [("a", published.photo("red")), ("b", published.photo("blue"))]
        many = client.post("/predict", files=files).json()
        in_json = base64.b64encode(published.photo("red")).decode()
        tensor = {"name": "photo", "datatype": "BYTES", "shape": [1], "data": [in_json]}
        inferred = client.post("/v2/models/colours/infer", json={"inputs": [tensor]}).json()
        client.get("/nothing")
    one, several, protocol, lost = map(json.loads, lines)
    assert (one["method"], one["path"], one["status"]) == ("POST", "/predict", 200)
    assert one["predictions"] == [made["id"]]
    assert one["bytes"] > 100
    assert one["ms"] > 0
    assert several["predictions"] == [part["id"] for part in many["predictions"]]
    assert protocol["predictions"] == [inferred["parameters"]["prediction_ids"]]
    assert (lost["status"], lost["predictions"]) == (404, [])


def test_the_last_line_is_written_before_the_server_ends(tmp_path: Path) -> None:
    lines = []

    def slow(line: bytes) -> None:
        time.sleep(0.3)
        lines.append(line)

    with running(settings(tmp_path), around=lambda app: Logged(app, slow)) as server:
        httpx.get(f"{server.url}/healthz")
    assert len(lines) == 1
    assert not getattr(server.server.lifespan, "error_occurred", True)  # uvicorn then tells of it


def test_the_log_is_off_unless_asked_for(tmp_path: Path) -> None:
    assert settings(tmp_path).access_log is False


def test_nobody_waits_for_who_reads_the_log(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    stalled = threading.Event()
    app = Logged(create_app(settings(tmp_path)), lambda _: stalled.wait(20))
    try:
        with TestClient(app) as client:
            assert {client.get("/healthz").status_code for _ in range(50)} == {200}
    finally:
        stalled.set()


def test_a_log_that_cannot_be_written_is_told_once_and_fails_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    published.champion(tmp_path / "store")

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    with TestClient(Logged(create_app(settings(tmp_path)), full)) as client:
        assert {client.get("/healthz").status_code for _ in range(5)} == {200}
    told = [line for line in caplog.messages if "access log" in line]
    assert told == [
        f"{count} lines of the access log are lost: [Errno 28] No space left on device" for count in (1, 4)
    ]
