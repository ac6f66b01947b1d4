"""Life behind a proxy: a Unix socket, a prefix that is taken off, and whose word about the client counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests import published
from tests.serve.running import until

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def process(folder: Path, log: Path, *options: str) -> Iterator[httpx.Client]:
    """`pawloop serve --uds …`, with these options; stdout goes to `log`."""
    brief = tempfile.TemporaryDirectory()  # as its path must be
    address = Path(brief.name) / "s"
    values = {
        "PAWLOOP_STORE": str(folder / "store"),
        "PAWLOOP_PROBLEM": str(published.problem_file(folder)),
        "PAWLOOP_JOURNAL": "off",
        "PAWLOOP_ACCESS_LOG": "1",
    }
    with log.open("wb") as out:
        started = subprocess.Popen(
            [sys.executable, "-m", "pawloop.cli", "serve", "--uds", str(address), *options],
            cwd=ROOT, env={**os.environ, **values}, stdout=out,
        )  # fmt: skip
        try:
            until(address.exists)
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(address)), base_url="http://x") as client:
                yield client
        finally:
            started.terminate()
            assert started.wait(15) == 0
            brief.cleanup()


def test_a_unix_socket_answers_under_the_prefix_of_its_proxy(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    log = tmp_path / "log"
    with process(tmp_path, log, "--root-path", "/paws/", "--forwarded-allow-ips", "*") as client:
        answer = client.post("/predict", content=published.photo("red"), headers=_FORWARDED)
        assert answer.json()["label"] == "cat"
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/paws"}]
        assert client.get("/v2/nothing").json().keys() == {"error"}
    assert json.loads(log.read_text().splitlines()[0])["client"] == "203.0.113.7"


def test_the_word_of_whoever_calls_a_socket_counts_only_if_told(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    log = tmp_path / "log"
    with process(tmp_path, log) as client:
        assert client.post("/predict", content=published.photo(), headers=_FORWARDED).status_code == 200
    assert json.loads(log.read_text().splitlines()[0])["client"] != "203.0.113.7"


_FORWARDED = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
