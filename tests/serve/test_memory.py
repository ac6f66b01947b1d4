"""Memory goes back to the system while the server answers."""

from __future__ import annotations

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
