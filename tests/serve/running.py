"""A real server on a free port, in a thread of the test's own process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from pawloop.settings import Settings
from serve.app import create_app
from serve.lending import LendingLane
from serve.run import listen
from serve.state import Live
from serve.unread import UNREAD_S, Server
from tests import published


def settings(folder: Path, **changes: object) -> Settings:
    """Settings for a store in `folder` and the problem `colours`."""
    values = {
        "store": folder / "store",
        "problem": str(published.problem_file(folder)),
        "threads": 2,
        "journal": "off",
        **changes,
    }
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]  # pydantic checks


@dataclass(frozen=True)
class Running:
    """A server that answers at `url`."""

    url: str
    port: int
    app: FastAPI
    server: uvicorn.Server

    @property
    def live(self) -> Live:
        """The server's parts."""
        live: Live = self.app.state.live
        return live

    def client(self) -> httpx.Client:
        """A client that is closed by whoever asked for it."""
        return httpx.Client(base_url=self.url, timeout=20)


@contextmanager
def running(
    configured: Settings, unread_s: float = UNREAD_S, around: Callable[[ASGIApp], ASGIApp] = lambda app: app
) -> Iterator[Running]:
    """Start a server, and stop it gracefully at the end. around: what is put around the application."""
    app = create_app(configured)
    config = uvicorn.Config(
        around(app), log_level="error", access_log=False, lifespan="on", loop="uvloop", http=LendingLane
    )
    server = Server(config, unread_s)
    listener = listen("127.0.0.1", 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port = listener.getsockname()[1]
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        yield Running(f"http://127.0.0.1:{port}", port, app, server)
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
    assert not thread.is_alive(), "the server did not stop"


def until(holds: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for something to become true; fail the test when it never does."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def answers(connection: socket.socket, count: int) -> list[bytes]:
    """So many answers of one connection, or fewer where it closes."""
    received = b""
    while received.count(b"HTTP/1.1 ") < count or not received.endswith(b"}"):
        piece = connection.recv(1 << 16)
        if not piece:
            break
        received += piece
    return [b"HTTP/1.1 " + one for one in received.split(b"HTTP/1.1 ")[1:]]
