"""Memory goes back to the system while the server answers."""

from __future__ import annotations

import base64
import gc
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pawloop.errors import PawloopError
from serve import memory, watcher
from tests import published
from tests.serve.running import running, settings, until


def test_a_server_that_swaps_nothing_gives_memory_back_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.champion(tmp_path / "store")
    given_back: list[bool] = []
    monkeypatch.setattr(watcher, "_GIVE_BACK_EVERY_S", 0.1)
    monkeypatch.setattr(memory, "give_back", lambda: given_back.append(True))
    with running(settings(tmp_path)):
        until(lambda: len(given_back) >= 3)


def _asked(photos: int, of: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
    body = {"images": [base64.b64encode(of).decode()] * photos}
    return {"url": "/predict", "json": body, "headers": headers}


def _tensor(photos: int, of: bytes) -> dict[str, Any]:
    data = [base64.b64encode(of).decode()] * photos
    tensor = {"name": "photo", "datatype": "BYTES", "shape": [photos], "data": data}
    return {"url": "/v2/models/colours/infer", "json": {"inputs": [tensor]}}


DAMAGED = published.photo("red")[:100]


@pytest.mark.parametrize("has_keys", [False, True])
@pytest.mark.parametrize(
    "call",
    [
        {"url": "/predict", "content": DAMAGED},
        {"url": "/predict", "json": {"image": base64.b64encode(DAMAGED).decode()}},
        {"url": "/predict", "json": {"image": "%"}},
        {"url": "/predict", "files": {"photo": DAMAGED}},
        _asked(5, DAMAGED),
        _asked(40, published.photo("red"), {"x-request-timeout-ms": "1"}),
        _tensor(1, DAMAGED),
        _tensor(5, DAMAGED),
    ],
    ids=["body", "json", "no base64", "form", "several", "several, late", "v2", "v2, several"],
)
def test_what_failed_keeps_no_photo_until_the_garbage_collector_comes(
    tmp_path: Path, call: dict[str, Any], has_keys: bool
) -> None:
    published.champion(tmp_path / "store")
    keys = tmp_path / "keys"
    keys.write_text(f"minka:{hashlib.sha256(b'sesame').hexdigest()}\n")
    configured = settings(tmp_path, threads=2, **({"api_keys": keys} if has_keys else {}))
    with running(configured) as server, server.client() as client:
        client.headers["x-api-key"] = "sesame"
        client.request("POST", **call)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(3):
                client.request("POST", **call)
            until(lambda: server.live.metrics.in_flight == 0 and not server.live.engine.running)
            gc.collect()
            held = [one for one in gc.garbage if isinstance(one, PawloopError | ExceptionGroup)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert not held


# What a swap leaves: large blocks that are freed between small ones that stay.
SWAPPED = """
import resource
from serve import memory
memory.arrange()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
model = bytearray(30 << 20)
del model
before = resident()
large, small = [], []
for _ in range(20):
    large.append(bytearray(3 << 20))
    large[-1][::4096] = bytes(768)  # so that each of its pages is there
    small.append(bytearray(5000))
del large
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's allocator")
def test_large_blocks_are_gone_once_they_are_freed() -> None:
    told = subprocess.run([sys.executable, "-c", SWAPPED], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 10 << 20
