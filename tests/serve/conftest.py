"""What the tests of the server share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import published
from tests.serve.running import Running, running, settings


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for a module, with a champion in service; for tests that change nothing."""
    folder: Path = tmp_path_factory.mktemp("server")
    published.champion(folder / "store")
    with running(settings(folder)) as started:
        yield started


@pytest.fixture
def brief() -> Iterator[Path]:
    """A folder whose path is short, as that of a Unix socket must be: 104 bytes on macOS."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    """A client of that server."""
    with server.client() as opened:
        yield opened
