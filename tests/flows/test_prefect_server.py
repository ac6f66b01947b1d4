"""Who may call Prefect's server: its own pages and programs, no page of another site."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flows.prefect_server import OwnPages

LOCAL = "127.0.0.1:4200"


async def _answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("done")


async def _greet(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    routes = [Route("/run", _answer, methods=["GET", "POST"]), WebSocketRoute("/events", _greet)]
    app = OwnPages(Starlette(routes=routes), frozenset({"paws.example"}))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (LOCAL, None),
        ("localhost:4200", None),
        (LOCAL, "http://127.0.0.1:4200"),
        (LOCAL, "http://localhost:4200"),
        ("[::1]:4200", "http://localhost:4200"),
        ("paws.example", "https://paws.example"),
        (LOCAL, "https://paws.example"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_programs_and_own_pages_are_answered(port: int, host: str, origin: str | None, method: str) -> None:
    headers = {"host": host} | ({"origin": origin} if origin else {})
    assert httpx.request(method, f"http://127.0.0.1:{port}/run", headers=headers).text == "done"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (LOCAL, "http://evil.example"),
        (LOCAL, "http://localhost:8888"),
        (LOCAL, "http://evil.example:4200"),
        (LOCAL, "null"),
        (LOCAL, ""),
        (LOCAL, "http://[:4200"),
        ("evil.example:4200", "http://evil.example:4200"),
        ("evil.example:4200", None),
    ],
)
def test_pages_of_other_sites_are_refused(port: int, host: str, origin: str | None) -> None:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    for method in ("GET", "POST", "OPTIONS"):
        refused = httpx.request(method, f"http://127.0.0.1:{port}/run", headers=headers)
        assert refused.status_code == 403


def test_other_sites_pages_may_not_listen(port: int) -> None:
    url = f"ws://127.0.0.1:{port}/events"
    with pytest.raises(InvalidStatus, match="403"):
        connect(url, origin="http://evil.example")  # type: ignore[arg-type]
    for origin in (None, f"http://localhost:{port}"):
        with connect(url, origin=origin) as socket:  # type: ignore[arg-type]
            assert socket.recv() == "hello"
