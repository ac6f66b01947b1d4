"""A route without FastAPI's machinery: the function gets the request and returns the response.

Dependencies, validation and serialisation cost more than all the rest of our event loop; a route that
uses none of them need not pay. It is documented like any other. Knows nothing about what routes do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response


class Bare(APIRoute):
    """For `APIRouter(route_class=Bare)` and functions `async def f(request) -> Response`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # Any: FastAPI's
        super().__init__(path, endpoint, **options)
        # FastAPI documents what a function's signature names; here it names the request alone.
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)", path)
        ]
        if parameters:
            extra = self.openapi_extra or {}
            self.openapi_extra = {**extra, "parameters": [*extra.get("parameters", []), *parameters]}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        return self.endpoint
