"""The access log: a line of JSON a call, on stdout, for those who ask for it (`PAWLOOP_ACCESS_LOG=1`).

Wraps the whole application, so without it nothing of it is in the way. Knows calls and answers; knows nothing
about what they mean.
"""

from __future__ import annotations

import json
import re
import sys
import time
from datetime import UTC, datetime
from typing import Final, TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import problems

_PREDICTION = re.compile(rb'"id": "([0-9a-f-]{36})"')
_MOST_IDS: Final = 100


class Logged:
    """The application, and a line about each of its calls once it is answered."""

    def __init__(self, app: ASGIApp, out: TextIO | None = None) -> None:
        self._app = app
        self._out = out or sys.stdout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, size = time.perf_counter(), problems.CLIENT_GONE, 0
        ids: list[str] = []

        async def noting(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                body = message.get("body", b"")
                size += len(body)
                if scope["path"].endswith("/predict"):
                    ids.extend(found.decode() for found in _PREDICTION.findall(body)[:_MOST_IDS])
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
                "predictions": ids,
            }
            print(json.dumps(line), file=self._out, flush=True)
