"""The access log: a line of JSON a call, on stdout, for those who ask for it (`PAWLOOP_ACCESS_LOG=1`).

Wraps the whole application, so without it nothing of it is in the way. Knows calls and answers; knows nothing
about what they mean.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
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
_TELL_EVERY_S: Final = 60.0
_TOLD: Final = "predictions"


def tell(scope: MutableMapping[str, Any], prediction_ids: Sequence[str]) -> None:  # Any: ASGI's own
    """Note the answers that a call made, for the call's line."""
    scope.setdefault("state", {})[_TOLD] = prediction_ids


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
            await self._app(scope, receive, self._ending(send))
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

    def _ending(self, send: Send) -> Send:
        """The lifespan's `send`, which writes what is left first: after its last word the server is gone."""

        async def ending(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(self._lines.stop)
            await send(message)

        return ending


class _Lines:
    """Written by a thread of their own: a full disk or a reader that stalls keeps no call waiting."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_MOST_LINES)
        self._lost = 0
        self._why = "nobody took them"
        self._told_at = -math.inf
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    def add(self, line: bytes) -> None:
        """Write a line soon, or lose it where too many wait."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._lost += 1  # and no word here: where the log goes, nobody may read, either

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
                self._lost += 1
                self._why = str(error)
            if self._lost and time.monotonic() - self._told_at > _TELL_EVERY_S:
                self._tell()
        if self._lost:
            self._tell()

    def _tell(self) -> None:
        lost, self._lost, self._told_at = self._lost, 0, time.monotonic()
        log.error("%d lines of the access log are lost: %s", lost, self._why)
