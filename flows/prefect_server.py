"""`python -m flows.prefect_server`: Prefect's server closed to pages of other sites.

Its API runs what it is told to, and asks nobody for a password: any page in a browser of this machine could
have a shell command run. Knows Origin, Host and how Prefect's server is started. Knows nothing about flows.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from pawloop import settings
from pawloop.hosts import is_known, listed, name_in

if TYPE_CHECKING:
    import uvicorn

HOST: Final = "127.0.0.1"
_REFUSAL: Final = "pages of other sites may not call this server; a proxy's name goes into PAWLOOP_HOSTS\n"


class OwnPages:
    """Middleware: 403 for calls and websockets of pages that this server did not send.

    hosts: names that it has besides its addresses; whoever calls by another is refused (see `pawloop.hosts`).
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self.app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call through, or answer it."""
        if scope["type"] == "lifespan" or self._is_own(Headers(scope=scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            await PlainTextResponse(_REFUSAL, 403)(scope, receive, send)

    def _is_own(self, headers: Headers) -> bool:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_known(host, self._hosts):
            return False
        return origin is None or _same(origin, host) or name_in(origin) in self._hosts


def _same(origin: str, host: str) -> bool:
    """Whether a page is from this host: Prefect's own asks 127.0.0.1 also where it was called localhost."""
    try:
        page, here = urlsplit(origin), urlsplit(f"//{host}")
        names = {page.hostname, here.hostname}
        return page.port == here.port and (len(names) == 1 or names <= {"localhost", "127.0.0.1", "::1"})
    except ValueError:
        return False


def config(*, is_passing: bool = False) -> uvicorn.Config:
    """What uvicorn needs to serve it; a passing one has no UI and runs no schedules.

    Raises SettingsError as `settings.load` does.
    """
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    found, theirs = settings.load(), get_current_settings().server
    return uvicorn.Config(
        OwnPages(create_app(ephemeral=is_passing, final=True), listed(found.hosts)),
        host=HOST,
        port=found.prefect_port,
        timeout_keep_alive=theirs.api.keepalive_timeout,
        ws_ping_interval=theirs.api.websocket_ping_interval,
        ws_ping_timeout=theirs.api.websocket_ping_timeout,
        log_level=theirs.logging_level.lower(),
    )


def serve() -> None:
    """Run it until it is told to stop. Raises SettingsError as `settings.load` does."""
    import uvicorn

    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config()).run()


if __name__ == "__main__":
    serve()
