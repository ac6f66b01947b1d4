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
def process(folder: Path, log: Path, **arguments: object) -> Iterator[httpx.Client]:
    """`serve.run.run(…)` on a Unix socket, as the command line calls it; stdout goes to `log`."""
    brief = tempfile.TemporaryDirectory()  # as its path must be
    address = Path(brief.name) / "s"
    code = (
        "from pathlib import Path; from pawloop import settings; from serve.run import run; "
        f"run(settings.load(), uds=Path({str(address)!r}), **{arguments!r})"
    )
    values = {
        "PAWLOOP_STORE": str(folder / "store"),
        "PAWLOOP_PROBLEM": str(published.problem_file(folder)),
        "PAWLOOP_JOURNAL": "off",
        "PAWLOOP_ACCESS_LOG": "1",
    }
    with log.open("wb") as out:
        started = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **values}, stdout=out
        )
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
    with process(tmp_path, log, root_path="/paws", forwarded_allow_ips="*") as client:
        answer = client.post("/predict", content=published.photo("red"), headers=_FORWARDED)
        assert answer.json()["label"] == "cat"
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/paws"}]
        assert client.get("/v2/nothing").json().keys() == {"error"}
    assert json.loads(log.read_text().splitlines()[0])["client"] == "203.0.113.7"


def test_nobodys_word_about_the_client_counts_unless_told(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    log = tmp_path / "log"
    with process(tmp_path, log) as client:
        assert client.post("/predict", content=published.photo(), headers=_FORWARDED).status_code == 200
    assert json.loads(log.read_text().splitlines()[0])["client"] != "203.0.113.7"


_FORWARDED = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
