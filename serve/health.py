"""`/healthz` and `/readyz`: whether the server lives, and what it serves.

Public, also where API keys are asked for. Knows nothing about requests for answers.
"""

from __future__ import annotations

import json

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from serve import state
from serve.predict import Model
from serve.routes import Bare

router = APIRouter(route_class=Bare, tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    alive: bool = True


class Refused(BaseModel):
    """A version that was not taken into service.

    may_pass: whether that is a fault of the moment, such as a full table of open files; it is tried again.
    """

    version: int = Field(examples=[4])
    reason: str = Field(examples=["models/cat-vs-dog/4/model.onnx: its bytes are not those of card.json"])
    at: str = Field(examples=["2026-11-24T21:00:00+00:00"])
    may_pass: bool = False


class Readiness(BaseModel):
    """What is served, and what was refused.

    problem: name of the model that is followed, also before its first version. run: the retrain that made the
    version in service. detail: only while there is nothing to serve.
    """

    ready: bool
    problem: str = Field(examples=["cat-vs-dog"])
    model: Model | None
    run: str | None = Field(None, examples=["20261124-210000-3f2a"])
    refused: list[Refused]
    detail: str | None = None


@router.get("/healthz", response_model=None, responses={200: {"model": Alive}})
async def healthz(_: Request) -> Response:
    """Whether the process lives and its event loop turns; 200 even without a model.

    curl http://127.0.0.1:8000/healthz
    """
    return _json({"alive": True})


@router.get("/readyz", response_model=None, responses={200: {"model": Readiness}, 503: {"model": Readiness}})
async def readyz(request: Request) -> Response:
    """Which model version answers now; 503 while there is none.

    curl http://127.0.0.1:8000/readyz

    `refused` tells versions that were not taken into service, with the reason.
    """
    live = state.of(request)
    refused = [refusal.as_dict() for refusal in live.watcher.refused]
    told = {"problem": live.watcher.registry.name, "refused": refused}
    if not live.engine.has_model:
        return _json({"ready": False, "model": None, **told, "detail": live.engine.lack}, 503)
    serving = live.engine.serving
    return _json({"ready": True, "model": serving.model, "run": serving.version.card.run, **told})


def _json(value: object, status: int = 200) -> Response:
    content = json.dumps(value).encode()
    return Response(content, status, {"Cache-Control": "no-store"}, "application/json")
