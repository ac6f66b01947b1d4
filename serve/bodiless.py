"""`HEAD`: what `GET` would answer, without its body (RFC 9110, 9.3.2).

FastAPI's routes answer `GET` alone, and to document each of them twice would help nobody. Knows methods.
Knows nothing about what is called.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Bodiless:
    """Middleware: every route that answers `GET` answers `HEAD`, too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call through, as `GET` where it is `HEAD`."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        asked = {**scope, "method": "GET"}  # whoever counts and logs it still sees what was asked
        try:
            await self.app(asked, receive, sending)
        finally:
            scope["route"] = asked.get("route")
