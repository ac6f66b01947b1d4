"""What the server counts, and `GET /metrics`, where it tells it.

Plain numbers that one thread changes, which costs a tenth of prometheus-client's; serve.exposition puts them
into Prometheus' words. Knows nothing about how what it counts comes about.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import problems, state
from serve.answer import Answer
from serve.jobs import Done
from serve.loading import Serving
from serve.routes import Bare

router = APIRouter(route_class=Bare, tags=["health"])

# From a fast model on a fast machine to a request's default deadline, a factor of about 1.6 a step.
BUCKETS_S: Final = (
    0.0005, 0.001, 0.0016, 0.0025, 0.004, 0.0063, 0.01, 0.016, 0.025, 0.04, 0.063, 0.1, 0.16, 0.25, 0.5,
    1, 2.5, 5, 10,
)  # fmt: skip
_REFUSED: Final = (401, 403)
_MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What one server counts."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.requests: dict[tuple[str, str, int], int] = {}
        self.swaps = 0
        self.refusals = 0
        self.queue_s = Seconds()
        self.decode_s = Seconds()
        self.inference_s = Seconds()
        self.total_s = Seconds()
        self._has_served = False

    def answered(self, done: Done[Answer]) -> None:
        """Count one photo's answer."""
        self.decode_s.add(done.value.decode_s)
        self._timed(done, done.value.inference_s)

    def inferred(self, done: Done[Any]) -> None:  # Any: whatever the model put out
        """Count one photo that came as pixels, so that inference is all its work."""
        self._timed(done, done.worked_s)

    def count(self, route: str, method: str, status: int) -> None:
        """Count one HTTP request, from the event loop."""
        key = route, method, status
        self.requests[key] = self.requests.get(key, 0) + 1

    def served(self, serving: Serving | None) -> None:
        """Count a model that came into service."""
        if serving is not None:
            if self._has_served:
                self.swaps += 1
            self._has_served = True

    def refused(self, _: object) -> None:
        """Count a version that was refused."""
        self.refusals += 1

    def _timed(self, done: Done[Any], inference_s: float) -> None:  # Any: as above
        self.queue_s.add(done.waited_s)
        self.inference_s.add(inference_s)
        self.total_s.add(done.waited_s + done.worked_s)


class Seconds:
    """A histogram of times. counts: by bucket, the last for what is longer than every bound."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one time."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class Counted:
    """Middleware: counts requests by route and outcome. routes: for calls that are refused before any."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call through, and note how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        metrics: Metrics = scope["app"].state.live.metrics
        status = problems.CLIENT_GONE

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        metrics.in_flight += 1
        try:
            await self.app(scope, receive, noting)
        except Exception:  # answered further out
            status = 500 if status == problems.CLIENT_GONE else status
            raise
        finally:
            metrics.in_flight -= 1
            metrics.count(self._route(scope, status), _known(scope["method"]), status)

    def _route(self, scope: Scope, status: int) -> str:
        """A path that is no route of ours must not become a label: anybody could make them up."""
        route = scope.get("route")
        if route is None and status in _REFUSED:
            route = next((one for one in self._routes if one.matches(scope)[0] is not Match.NONE), None)
        path: str | None = getattr(route, "path", None)
        if path is None and problems.route_path(scope) == scope["app"].openapi_url:
            return "/openapi.json"  # FastAPI's own route, of which it tells nobody
        return path or "unknown"


@router.get("/metrics", response_class=PlainTextResponse, responses=problems.responses(401))
async def metrics(request: Request) -> Response:
    """Requests by outcome, latencies, the model in service, swaps, refusals, losses.

    curl http://127.0.0.1:8000/metrics
    """
    from serve.exposition import text  # with prometheus-client, which the start need not wait for

    live = state.of(request)
    live.afterwards.do()  # so that what was answered is counted
    return Response(text(live), media_type=_MEDIA_TYPE)


def _known(method: str) -> str:
    return method if method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH") else "other"
