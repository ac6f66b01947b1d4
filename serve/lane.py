"""The short way for `POST /predict`: past the layers that FastAPI puts around every route.

They cost the event loop more than the route itself does, measured. The function is the same, and so are
its errors; whatever asks for more than the plain case (API keys, a browser's Origin) goes the long way.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from serve import problems
from serve.metrics import Metrics
from serve.predict import predict

log = logging.getLogger(__name__)


class Application(FastAPI):
    """FastAPI with the short way. has_keys: callers must show a key, so there is no short way."""

    def __init__(self, *, has_keys: bool, **options: Any) -> None:  # Any: FastAPI's own
        super().__init__(**options)
        self._has_keys = has_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if self._has_keys or scope["type"] != "http" or not _is_plain_prediction(scope):
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        metrics: Metrics = self.state.live.metrics
        metrics.in_flight += 1
        try:
            response = await predict(Request(scope, receive, send))
        except ClientDisconnect:
            response = problems.gone()
        # as the long way's outermost layer does: any error gets its document, a surprise its traceback
        except Exception as error:
            response = problems.response(error, scope)
            if response.status_code == 500:
                log.exception("a prediction failed")
        finally:
            metrics.in_flight -= 1
        metrics.count("/predict", "POST", response.status_code)
        await response(scope, receive, send)


def _is_plain_prediction(scope: Scope) -> bool:
    if scope["method"] != "POST" or problems.route_path(scope) != "/predict":
        return False
    return all(name != b"origin" for name, _ in scope["headers"])
