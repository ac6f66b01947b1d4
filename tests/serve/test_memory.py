"""Memory goes back to the system while the server answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
