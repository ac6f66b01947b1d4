from __future__ import annotations

import io
import json
from pathlib import Path

from fastapi.testclient import TestClient

from serve.app import create_app
from serve.calls import Logged
from tests import published
from tests.serve.running import settings


def test_a_call_is_a_line_of_json_with_the_prediction_that_it_made(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    out = io.StringIO()
    with TestClient(Logged(create_app(settings(tmp_path)), out)) as client:
        made = client.post("/predict", content=published.photo("red")).json()
        files = [("a", published.photo("red")), ("b", published.photo("blue"))]
        many = client.post("/predict", files=files).json()
        client.get("/nothing")
    one, several, lost = map(json.loads, out.getvalue().splitlines())
    assert (one["method"], one["path"], one["status"]) == ("POST", "/predict", 200)
    assert one["predictions"] == [made["id"]]
    assert one["bytes"] > 100
    assert one["ms"] > 0
    assert several["predictions"] == [part["id"] for part in many["predictions"]]
    assert (lost["status"], lost["predictions"]) == (404, [])


def test_the_log_is_off_unless_asked_for(tmp_path: Path) -> None:
    assert settings(tmp_path).access_log is False
