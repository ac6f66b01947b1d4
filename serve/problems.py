"""Errors as RFC 9457 problem documents, and the one table from our errors to HTTP statuses.

Knows HTTP and the errors' classes. Knows nothing about what raised them.
"""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from pawloop import errors

MEDIA_TYPE: Final = "application/problem+json"
_RETRY_AFTER: Final = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}}  # OpenAPI
CLIENT_GONE: Final = 499  # nginx's number for a client that did not wait for its answer

# The first class that fits, so children stand before their parents.
STATUSES: Final[dict[type[errors.PawloopError], tuple[int, str]]] = {
    errors.PhotoTooLargeError: (413, "photo too large"),
    errors.PhotoFormatError: (400, "not an image"),
    errors.PhotoError: (400, "damaged photo"),
    errors.OverloadedError: (503, "overloaded"),
    errors.NoModelError: (503, "no model"),
    errors.BusyError: (503, "busy"),
    errors.JournalOffError: (409, "journal off"),
    errors.JournalError: (503, "journal unavailable"),
    errors.RegistryError: (503, "registry unavailable"),
    errors.PawloopError: (500, "cannot be done"),
}


class Problem(BaseModel):
    """What went wrong, where, and what to do about it (RFC 9457)."""

    type: str = Field(examples=["urn:pawloop:not-an-image"])
    title: str = Field(examples=["not an image"])
    status: int = Field(examples=[400])
    detail: str = Field(examples=["these bytes are not an image that can be read; send JPEG, PNG, WebP, …"])


def document(error: BaseException) -> dict[str, str | int]:
    """The problem document of an error; what we did not foresee says nothing about our inside."""
    if isinstance(error, HTTPException):
        return _document(error.status_code, None, str(error.detail))
    for kind, (status, title) in STATUSES.items():
        if isinstance(error, kind):
            return _document(status, title, str(error))
    return _document(500, None, "the server failed; its log says why")


def response(error: BaseException, scope: Scope) -> Response:
    """An error as an HTTP response, in the form that the protocol of the called path has for it."""
    problem = document(error)
    headers = dict(getattr(error, "headers", None) or {})
    if isinstance(error, errors.OverloadedError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif isinstance(error, errors.NoModelError):
        headers["Retry-After"] = "5"
    status = int(problem["status"])
    if route_path(scope).startswith("/v2"):
        return Response(json.dumps({"error": problem["detail"]}), status, headers, "application/json")
    return Response(json.dumps(problem), status, headers, MEDIA_TYPE)


def let_go(error: BaseException) -> None:
    """Forget how an error came about, once it is answered.

    Some frames on its way hold it, so that they and the photos in them would stay until the garbage collector
    comes, which a busy server may not see for a thousand requests.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None


def gone() -> Response:
    """What is answered, for the count alone, to a client that left."""
    return Response(status_code=CLIENT_GONE)


def route_path(scope: Scope) -> str:
    """The path that was called, without the prefix of a proxy in front."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:  # Any: OpenAPI
    """OpenAPI's description of problem documents with these statuses."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {status: _response(status, MEDIA_TYPE, schema) for status in statuses}


def responses_v2(*statuses: int) -> dict[int | str, dict[str, Any]]:  # Any: OpenAPI
    """The same for errors in the form of the Open Inference Protocol."""
    schema = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    return {status: _response(status, "application/json", schema) for status in statuses}


def install(app: FastAPI) -> None:
    """Let every error that leaves a route become a problem document."""
    app.add_exception_handler(errors.PawloopError, _handle)
    app.add_exception_handler(HTTPException, _handle)
    app.add_exception_handler(RequestValidationError, _handle_invalid)
    app.add_exception_handler(ClientDisconnect, _handle_gone)
    app.add_exception_handler(Exception, _handle)  # starlette logs the traceback after it answered


def _response(status: int, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:  # Any: OpenAPI
    told = {"description": HTTPStatus(status).phrase, "content": {media_type: {"schema": schema}}}
    return {**told, "headers": _RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else told


async def _handle(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.detail == HTTPStatus(error.status_code).phrase:
        detail = f"{request.method} {request.url.path}: {error.detail.lower()}; /docs tells what there is"
        error = HTTPException(error.status_code, detail, error.headers)
    told = response(error, request.scope)
    if told.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:  # which starlette raises anew, to be logged
        let_go(error)
    return told


async def _handle_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    return response(HTTPException(422, "; ".join(faults)), request.scope)


async def _handle_gone(_: Request, __: Exception) -> Response:
    return gone()


def _document(status: int, title: str | None, detail: str) -> dict[str, str | int]:
    kind = "about:blank" if title is None else f"urn:pawloop:{title.replace(' ', '-')}"
    return {"type": kind, "title": title or HTTPStatus(status).phrase, "status": status, "detail": detail}
