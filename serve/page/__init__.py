"""The page at `/` and its files, and `/docs`, all served from this installation: no third host is asked.

Knows files and their headers. Knows nothing about what the page does.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.responses import Response

from serve.routes import Bare

router = APIRouter(route_class=Bare, include_in_schema=False)

_HERE: Final = Path(__file__).parent
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI sets styles of its own and starts from a script in the page.
_DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    tag: str


@router.get("/")
async def index(request: Request) -> Response:
    """The page."""
    return _sent(request, _file(_HERE, "index.html"))


@router.get("/static/{name}")
async def static(request: Request) -> Response:
    """A file of the page."""
    return _sent(request, _file(_HERE, request.path_params["name"]))


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API's documentation, to read and to try."""
    root = request.scope.get("root_path", "").rstrip("/")
    page = get_swagger_ui_html(
        openapi_url=f"{root}{request.app.openapi_url}",
        title=f"{request.app.title}: API",
        swagger_js_url=f"{root}/docs/swagger-ui-bundle.js",
        swagger_css_url=f"{root}/docs/swagger-ui.css",
        swagger_favicon_url=f"{root}/static/icon.svg",
    )
    page.headers.update(_headers(_DOCS_POLICY))
    return page


@router.get("/docs/{name}")
async def docs_file(request: Request) -> Response:
    """A file of Swagger UI, which the package fastapi-offline brings along."""
    package = importlib.util.find_spec("fastapi_offline")
    if package is None or not package.origin:
        raise HTTPException(404, "/docs needs the package fastapi-offline; /openapi.json needs nothing")
    return _sent(request, _file(Path(package.origin).parent / "static", request.path_params["name"]))


@cache
def _file(folder: Path, name: str) -> _File:
    # Only names that are there, so a path that climbs out of the folder is one that is not.
    known = {path.name: path for path in folder.iterdir() if path.suffix in _TYPES}
    if name not in known:
        raise HTTPException(404, f'there is no file "{name}" here')
    content = known[name].read_bytes()
    return _File(content, _TYPES[known[name].suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"')


def _sent(request: Request, file: _File) -> Response:
    headers = {"ETag": file.tag, **_headers(_PAGE_POLICY)}
    if _is_held(",".join(request.headers.getlist("if-none-match")), file.tag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


def _is_held(said: str, tag: str) -> bool:
    """Whether If-None-Match names the tag (RFC 9110, 13.1.2): any of a list, weak ones too, or `*`.

    Proxies that compress make tags weak.
    """
    named = [entry.strip() for entry in said.split(",")]
    return "*" in named or tag in [entry.removeprefix("W/") for entry in named]


def _headers(policy: str) -> dict[str, str]:
    return {
        "Cache-Control": "no-cache",  # kept, but asked about each time: an update shows at once
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
