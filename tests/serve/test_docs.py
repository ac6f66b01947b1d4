from __future__ import annotations

import re
from pathlib import Path

import httpx

from serve.problems import STATUSES
from tests.serve.running import Running

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "server.md").read_text()


def test_every_call_has_its_line(client: httpx.Client) -> None:
    for path in client.get("/openapi.json").json()["paths"]:
        known = path.replace("/v2/models/{name}/versions/{version}", "…/versions/{version}")
        stem = re.sub(r"/(ready|config)$", "", known) if "{name}" in path else known
        assert f"`{known}`" in PAGE or f" {known}`" in PAGE or stem in PAGE, path


def test_every_metric_has_its_line(client: httpx.Client) -> None:
    for name in re.findall(r"^# TYPE (pawloop_\w+)", client.get("/metrics").text, re.MULTILINE):
        assert name in PAGE


def test_every_error_has_its_line() -> None:
    for status, title in STATUSES.values():
        assert re.search(rf"\| {status} \|[^|]*{title}", PAGE), title


def test_every_setting_named_there_exists(server: Running) -> None:
    known = {f"PAWLOOP_{name.upper()}" for name in type(server.live.settings).model_fields}
    assert set(re.findall(r"PAWLOOP_[A-Z_]+", PAGE)) <= known
