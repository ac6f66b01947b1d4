"""`/v2`: the Open Inference Protocol over REST, so that its clients need to know nothing of us.

One model, one version: the champion in service. Knows what the protocol asks about servers and models;
inference itself is in serve.infer.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from serve import access, problems, state, uploads
from serve.loading import Serving
from serve.parsing import parsed
from serve.routes import Bare

TAG: Final = "Open Inference Protocol"
DECIDED: Final = ("label", "reason")  # outputs that are texts: what is made of the model's own

_INDEX: Final[dict[str, Any]] = {  # Any: OpenAPI
    "requestBody": {
        "content": {
            "application/json": {"schema": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}
        }
    }
}

router = APIRouter(
    prefix="/v2", route_class=Bare, tags=[TAG],
    responses=problems.responses_v2(400, 401, 403, 404, 503),
)  # fmt: skip


@router.get("", response_model=None)
async def server(request: Request) -> Response:
    """Name, version and extensions of the server.

    curl http://127.0.0.1:8000/v2
    """
    extensions = ["binary_tensor_data", "classification", "model_configuration", "model_repository"]
    return _json({"name": "pawloop", "version": request.app.version, "extensions": extensions})


@router.get("/health/live", response_model=None)
async def live(_: Request) -> Response:
    """Whether the server lives.

    curl http://127.0.0.1:8000/v2/health/live
    """
    return _json({"live": True})


@router.get("/health/ready", response_model=None)
async def ready(request: Request) -> Response:
    """Whether there is a model to serve; 503 while there is none.

    curl http://127.0.0.1:8000/v2/health/ready
    """
    is_ready = state.of(request).engine.has_model
    return _json({"ready": is_ready}, 200 if is_ready else 503)


@router.get("/models/{name}", response_model=None)
@router.get("/models/{name}/versions/{version}", response_model=None)
async def metadata(request: Request) -> Response:
    """Inputs and outputs of the model. Of the inputs, a request sends one: pixels or encoded photos.

    curl http://127.0.0.1:8000/v2/models/cat-vs-dog
    """
    serving = named(request)
    size = serving.rule.size
    outputs = [_described(name, "FP32", shape) for name, shape in _shapes(serving).items()]
    return _json(
        {
            "name": serving.model["name"],
            "versions": [str(serving.number)],
            "platform": "onnxruntime_onnx",
            "inputs": [
                _described("image", "UINT8", [-1, size, size, 3]),
                _described("photo", "BYTES", [-1]),
            ],
            "outputs": [*outputs, *(_described(name, "BYTES", [-1]) for name in DECIDED)],
        }
    )


@router.get("/models/{name}/ready", response_model=None)
@router.get("/models/{name}/versions/{version}/ready", response_model=None)
async def model_ready(request: Request) -> Response:
    """Whether this model, in this version, is in service.

    curl http://127.0.0.1:8000/v2/models/cat-vs-dog/ready
    """
    return _json({"name": named(request).model["name"], "ready": True})


@router.get("/models/{name}/config", response_model=None)
@router.get("/models/{name}/versions/{version}/config", response_model=None)
async def config(request: Request) -> Response:
    """The model's configuration, as Triton's clients ask for it.

    curl http://127.0.0.1:8000/v2/models/cat-vs-dog/config
    """
    serving = named(request)
    size = serving.rule.size
    pixels = _configured("image", "UINT8", [-1, size, size, 3])
    return _json(
        {
            "name": serving.model["name"],
            "platform": "onnxruntime_onnx",
            "backend": "onnxruntime",
            "max_batch_size": 0,
            "version_policy": {"specific": {"versions": [serving.number]}},
            "input": [pixels, _configured("photo", "STRING", [-1])],
            "output": [
                *(_configured(name, "FP32", shape) for name, shape in _shapes(serving).items()),
                *(_configured(name, "STRING", [-1]) for name in DECIDED),
            ],
        }
    )


@router.post("/repository/index", response_model=None, openapi_extra=_INDEX)
async def index(request: Request) -> Response:
    """Every version of the model, and why one was refused; with `{"ready": true}` only the one in service.

    curl -X POST http://127.0.0.1:8000/v2/repository/index
    """
    live = state.of(request)
    only_ready = _wants_only_ready(await uploads.small_body(request, live.settings))
    serving = live.engine.serving.number if live.engine.has_model else None
    reasons = {refusal.version: refusal.reason for refusal in live.watcher.refused}
    numbers = await asyncio.to_thread(live.registry.numbers)
    return _json(
        [
            {
                "name": live.registry.name,
                "version": str(number),
                "state": "READY" if number == serving else "UNAVAILABLE",
                "reason": "" if number == serving else reasons.get(number, "not the champion"),
            }
            for number in numbers
            if number == serving or not only_ready
        ]
    )


@router.post("/repository/models/{name}/load", response_model=None, openapi_extra=access.OF_ADMINS)
async def load(request: Request) -> Response:
    """Look again at the champion, now, and bring it into service; needs the admin token.

    curl -X POST -H 'x-admin-token: …' http://127.0.0.1:8000/v2/repository/models/cat-vs-dog/load
    """
    live = state.of(request)
    access.require_admin(request, live.settings.admin_token)
    _refuse_other_names(request)
    await asyncio.to_thread(live.watcher.look)
    serving = live.engine.serving.number if live.engine.has_model else None
    champion = live.registry.aliases().champion
    reasons = {refusal.version: refusal.reason for refusal in live.watcher.refused}
    if champion is not None and champion != serving and champion in reasons:
        stays = "no model serves" if serving is None else f"version {serving} serves on"
        raise HTTPException(400, f"version {champion} is refused, {stays}: {reasons[champion]}")
    _ = live.engine.serving  # an error where there is none
    return _json({})


@router.post("/repository/models/{name}/unload", response_model=None, openapi_extra=access.OF_ADMINS)
async def unload(request: Request) -> Response:
    """Refused: the champion serves until another takes its place.

    curl -X POST -H 'x-admin-token: …' http://127.0.0.1:8000/v2/repository/models/cat-vs-dog/unload
    """
    access.require_admin(request, state.of(request).settings.admin_token)
    _refuse_other_names(request)
    raise HTTPException(400, "a model leaves service when another is promoted: `pawloop models promote`")


def _wants_only_ready(content: bytes) -> bool:
    asked = parsed(content, "the body") if content else {}
    wanted = asked.get("ready", False) if isinstance(asked, dict) else None
    if not isinstance(wanted, bool):
        raise HTTPException(400, 'send {"ready": true}, {"ready": false} or nothing')
    return wanted


def named(request: Request) -> Serving:
    """The model in service, if it is the one that the path names."""
    _refuse_other_names(request)
    serving = state.of(request).engine.serving
    version = request.path_params.get("version", str(serving.number))
    if version != str(serving.number):
        raise HTTPException(404, f"version {version} is not in service, version {serving.number} is")
    return serving


def _refuse_other_names(request: Request) -> None:
    name, known = request.path_params["name"], state.of(request).registry.name
    if name != known:
        raise HTTPException(404, f'there is no model "{name}" here, only "{known}"')


def _shapes(serving: Serving) -> dict[str, list[int]]:
    """Of the outputs that are numbers, by name; -1 where it is not fixed."""
    known = {"probabilities": [-1, len(serving.classes)], "embedding": [-1, -1]}
    return {name: known.get(name, [-1]) for name in serving.session.outputs}


def _configured(name: str, kind: str, dims: list[int]) -> dict[str, object]:
    return {"name": name, "data_type": f"TYPE_{kind}", "dims": dims}


def _described(name: str, datatype: str, shape: list[int]) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape}


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value).encode(), status, media_type="application/json")
