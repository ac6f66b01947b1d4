"""Who may call: API keys, and no calls from other sites' pages.

Plain ASGI, since a middleware that wraps requests and responses costs as much as the rest of the event
loop's work. Knows headers and keys. Knows nothing about what is called.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from pawloop.errors import ServerError
from pawloop.hosts import is_known, listed
from pawloop.settings import Settings
from serve import problems

# What answers nothing about anybody's photos: the page's shell asks for the key.
PUBLIC: Final = frozenset(
    {"/", "/docs", "/openapi.json", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}
)
_ADMIN: Final = "x-admin-token"
OF_ADMINS: Final[dict[str, Any]] = {"security": [{"admin": []}]}  # Any: OpenAPI
_PUBLIC_FOLDERS: Final = ("/static/", "/docs/")
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OF_NOTHING: Final = hashlib.sha256(b"").hexdigest()
_LINE = re.compile(r"([^:\s]+):([0-9a-f]{64})")


def read_keys(path: Path) -> dict[str, str]:
    """Names of clients by the SHA-256 of their key, from lines `name:sha256`; `#` starts a comment.

    Raises ServerError that names the line at fault; a file without keys would lock everybody out.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServerError(f"{path}: the API keys cannot be read: {error}") from None
    names = {}
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        found = _LINE.fullmatch(entry)
        if not found:
            raise ServerError(
                f"{path}, line {number}: not `name:sha256-of-the-key`; "
                "make one with `printf %s KEY | sha256sum`"
            )
        if found[2] == _OF_NOTHING:
            raise ServerError(
                f"{path}, line {number}: this is the SHA-256 of an empty key, which every caller has; "
                "the variable that was to hold the key was empty"
            )
        names[found[2]] = found[1]
    if not names:
        raise ServerError(f"{path}: holds no API key; add a line `name:sha256-of-the-key`")
    return names


class Keys:
    """Middleware: 401 for calls without one of the keys, but for what is public."""

    def __init__(self, app: ASGIApp, names: dict[str, str]) -> None:
        self.app = app
        self._digests = [digest.encode() for digest in names]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call through, or answer it."""
        if scope["type"] == "http" and not _is_public(scope) and not self._knows(Headers(scope=scope)):
            refusal = HTTPException(
                401,
                "this server wants an API key, in the header x-api-key or as a bearer token",
                {"WWW-Authenticate": "Bearer"},
            )
            await problems.response(refusal, scope)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        key = headers.get("x-api-key") or _bearer(headers)
        digest = hashlib.sha256(_as_sent(key)).hexdigest().encode()
        # All are compared, each in constant time, so that time tells nothing.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def document(schema: dict[str, Any], *, has_keys: bool) -> None:  # Any: OpenAPI
    """Write into an OpenAPI document how a key and the admin token are shown, and for which calls."""
    schemes = {"admin": {"type": "apiKey", "in": "header", "name": _ADMIN}}
    schema["components"]["securitySchemes"] = schemes
    if not has_keys:
        return
    schemes["key"] = {"type": "apiKey", "in": "header", "name": "x-api-key"}
    schemes["bearer"] = {"type": "http", "scheme": "bearer"}
    for path, calls in schema["paths"].items():
        if path not in PUBLIC:
            for call in calls.values():
                more = call.get("security", [{}])[0]
                call["security"] = [{"key": [], **more}, {"bearer": [], **more}]


class SameOrigin:
    """Middleware: 403 for calls that change or cost something, made by another site's page.

    hosts: names that this server has besides its addresses; None believes any (see `pawloop.hosts`).
    origins: of other sites' pages that may; `*` is any.
    """

    def __init__(
        self, app: ASGIApp, hosts: frozenset[str] | None = None, origins: frozenset[str] = frozenset()
    ) -> None:
        self.app = app
        self._hosts = hosts
        self._origins = {origin.encode() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call through, or answer it."""
        if scope["type"] == "http" and scope["method"] not in _READING and self._is_foreign(scope):
            refusal = HTTPException(
                403,
                "pages of other sites may not call this server, but for those that PAWLOOP_ORIGINS names; "
                "a proxy in front must pass Host on, and PAWLOOP_HOSTS name it",
            )
            await problems.response(refusal, scope)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        origin = host = b""
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value
            elif name == b"host":
                host = value
        if not origin:
            return False  # not a browser, or a browser of old that sends none for its own page
        if not self._origins.isdisjoint((origin, b"*")):
            return False
        if origin.partition(b"://")[2].lower() != host.lower():
            return True
        return self._hosts is not None and not is_known(host.decode("latin-1"), self._hosts)


def share(app: Starlette, origins: tuple[str, ...]) -> None:
    """Let pages of these origins read what they are answered (CORS, fetch.spec.whatwg.org); no cookies."""
    from starlette.middleware.cors import CORSMiddleware  # few servers need it

    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST"),
        allow_headers=("*",),
        allow_private_network=True,
        expose_headers=("*",),
    )


def hosts(settings: Settings) -> frozenset[str] | None:
    """The names by which pages may call; None for any.

    Any may where a key is wanted, or where everybody is welcome and no names are given.
    """
    if settings.api_keys or (settings.open and not settings.hosts):
        return None
    return listed(settings.hosts)


def require_admin(request: Request, token: str) -> None:
    """Raise HTTPException 403 unless the request carries the admin token, in x-admin-token or as bearer."""
    if not token:
        raise HTTPException(403, "this call needs an admin token, and PAWLOOP_ADMIN_TOKEN is not set")
    shown = request.headers.get(_ADMIN) or _bearer(request.headers)
    if not hmac.compare_digest(_as_sent(shown), token.encode()):
        raise HTTPException(403, f"this call needs the admin token, in the header {_ADMIN}")


def _is_public(scope: Scope) -> bool:
    path = problems.route_path(scope)
    return path in PUBLIC or path.startswith(_PUBLIC_FOLDERS)


def _bearer(headers: Headers) -> str:
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else ""


def _as_sent(value: str) -> bytes:
    """The bytes of a header that starlette has decoded, by HTTP's custom as Latin-1."""
    return value.encode("latin-1")
