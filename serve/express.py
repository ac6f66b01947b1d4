"""Predictions past the layers that FastAPI puts around every route.

Its routers ask one another and its telemetry asks the environment, 300 calls of Python before the route's
own, counted. The function is the same, and so are its errors; whatever asks for more than the plain case
(API keys, a browser's Origin) goes the long way. A photo as it is, or the pixels of one, does not
even come here: serve.lane.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve import access, problems
from serve.infer import infer
from serve.metrics import Metrics
from serve.predict import predict

log = logging.getLogger(__name__)

Route = tuple[str, Callable[[Request], Awaitable[Response]]]

_NAME: Final = r"(?P<name>[^/]+)"
_ROUTES: Final[dict[re.Pattern[str], Route]] = {
    re.compile("/predict"): ("/predict", predict),
    re.compile(f"/v2/models/{_NAME}/infer"): ("/v2/models/{name}/infer", infer),
    re.compile(f"/v2/models/{_NAME}/versions/(?P<version>[^/]+)/infer"): (
        "/v2/models/{name}/versions/{version}/infer", infer,
    ),
}  # fmt: skip


class Application(FastAPI):
    """FastAPI with the short way. has_keys: callers must show a key, so there is no short way."""

    def __init__(self, *, has_keys: bool, **options: Any) -> None:  # Any: FastAPI's own
        super().__init__(**options)
        self._has_keys = has_keys

    def openapi(self) -> dict[str, Any]:  # Any: OpenAPI
        """The document of what can be asked, with the ways to show a key where one is wanted."""
        if self.openapi_schema is None:
            access.document(super().openapi(), has_keys=self._has_keys)
        return super().openapi()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        route = None if self._has_keys or scope["type"] != "http" else _plain(scope)
        if route is None:
            await super().__call__(scope, receive, send)
            return
        path, function = route
        scope["app"] = self
        metrics: Metrics = self.state.live.metrics
        metrics.in_flight += 1
        try:
            response = await function(Request(scope, receive, send))
        except ClientDisconnect:
            response = problems.gone()
        # as the long way's outermost layer does: any error gets its document, a surprise its traceback
        except Exception as error:
            response = problems.response(error, scope)
            if response.status_code == 500:
                log.exception("a prediction failed")
            problems.let_go(error)
        finally:
            metrics.in_flight -= 1
        metrics.count(path, "POST", response.status_code)
        await response(scope, receive, send)


def _plain(scope: Scope) -> Route | None:
    """Who answers, where it is a prediction that asks for nothing more; `path_params` are set then."""
    if scope["method"] != "POST" or any(name == b"origin" for name, _ in scope["headers"]):
        return None
    path = problems.route_path(scope)
    for pattern, route in _ROUTES.items():
        found = pattern.fullmatch(path)
        if found:
            scope["path_params"] = found.groupdict()
            return route
    return None
