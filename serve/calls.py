"""The access log: a line of JSON a call, on stdout, for those who ask for it (`PAWLOOP_ACCESS_LOG=1`).

Wraps the whole application, so without it nothing of it is in the way. Knows calls and answers; knows nothing
about what they mean.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import problems

log = logging.getLogger(__name__)

_MOST_IDS: Final = 100
_MOST_LINES: Final = 10_000
_LAST_LINES_S: Final = 1.0
_TOLD: Final = "predictions"


def tell(scope: MutableMapping[str, Any], prediction_id: str) -> None:  # Any: ASGI's own
    """Note an answer that a call made, for the call's line."""
    scope.setdefault("state", {}).setdefault(_TOLD, []).append(prediction_id)


class Logged:
    """The application, and a line about each of its calls once it is answered."""

    def __init__(self, app: ASGIApp, out: Callable[[bytes], object] | None = None) -> None:
        """out: writes a line; stdout where None."""
        self._app = app
        # Not the text stream: a thread that waits inside it would make Python abort at its end.
        self._lines = _Lines(out or partial(os.write, sys.stdout.fileno()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            if scope["type"] == "lifespan":
                await asyncio.to_thread(self._lines.stop)
            return
        started, status, size = time.perf_counter(), problems.CLIENT_GONE, 0

        async def noting(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            line = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "client": (scope.get("client") or ("",))[0],
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "ms": round(1000 * (time.perf_counter() - started), 2),
                "bytes": size,
                "predictions": scope.get("state", {}).get(_TOLD, [])[:_MOST_IDS],
            }
            self._lines.add(json.dumps(line).encode() + b"\n")


class _Lines:
    """Written by a thread of their own: a full disk or a reader that stalls keeps no call waiting."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_MOST_LINES)
        self._is_told = False
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    def add(self, line: bytes) -> None:
        """Write a line soon, or lose it where too many wait."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._tell_once("nobody takes them")

    def stop(self) -> None:
        """Write what is left, as far as that does not take long."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_LAST_LINES_S)
            self._thread.join(_LAST_LINES_S)

    def _run(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._write(line)
            except OSError as error:
                self._tell_once(str(error))
            else:
                self._is_told = False

    def _tell_once(self, why: str) -> None:
        if not self._is_told:
            self._is_told = True
            log.error("lines of the access log are lost: %s", why)
