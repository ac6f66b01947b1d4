"""`/v2/models/{name}/infer`: inference in the Open Inference Protocol's own words.

Knows what may go in and come out. Knows nothing about how tensors look on the wire (serve.tensors) or how
jobs find a thread (serve.engine).
"""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pawloop.decision import decide
from serve import asking, calls, problems, state, tensors, uploads
from serve.answer import Answer, examining
from serve.jobs import Done, Steps
from serve.loading import Serving
from serve.routes import Bare
from serve.tensors import Tensor
from serve.v2 import DECIDED, TAG, named

router = APIRouter(
    prefix="/v2", route_class=Bare, tags=[TAG],
    responses=problems.responses_v2(400, 401, 403, 404, 408, 413, 415, 422, 503),
)  # fmt: skip

_TENSOR: Final = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"enum": ["image", "photo"]},
        "datatype": {"enum": ["UINT8", "BYTES"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
}
_CALL: Final = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1, "maxItems": 1},
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "parameters": {"type": "object"},
    },
}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_BODY: Final[dict[str, Any]] = {  # Any: OpenAPI
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _CALL}, "application/octet-stream": _BINARY},
    },
    "parameters": [
        asking.TIMEOUT_PARAMETER,
        {
            "name": tensors.HEADER_LENGTH,
            "in": "header",
            "schema": {"type": "integer", "minimum": 0},
            "description": "Bytes of JSON in the body; the binary tensors follow them.",
        },
    ],
}
_ANSWER: Final = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": {"type": "object", "properties": {"prediction_ids": {"type": "string"}}},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "datatype", "shape"],
                "properties": {
                    "name": {"type": "string"},
                    "datatype": {"enum": ["FP32", "BYTES"]},
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "data": {"type": "array"},
                    "parameters": {"type": "object"},
                },
            },
        },
    },
}
_TOLD: Final[dict[int | str, dict[str, Any]]] = {  # Any: OpenAPI
    200: {
        "description": "The outputs",
        "headers": {tensors.HEADER_LENGTH: {"schema": {"type": "integer"}}},
        "content": {"application/json": {"schema": _ANSWER}, "application/octet-stream": _BINARY},
    }
}

Batch = NDArray[np.uint8] | list[bytes]

_WORTH_COMPRESSING_BYTES: Final = 1024
_PARSED_ON_THE_LOOP_BYTES: Final = 1 << 16
_WRITTEN_ON_THE_LOOP_VALUES: Final = 1 << 14
_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}
_MOST_MEMBERS: Final = 1000  # of a gzip body; those of bgzip, the most that we know of, hold 64 KiB each
_INFLATED_AT_ONCE_BYTES: Final = 1 << 16


@router.post("/models/{name}/infer", response_model=None, openapi_extra=_BODY, responses=_TOLD)
@router.post(
    "/models/{name}/versions/{version}/infer", response_model=None, openapi_extra=_BODY, responses=_TOLD
)
async def infer(request: Request) -> Response:
    """Run the model on pixels (`image`, UINT8 [N, S, S, 3]) or on encoded photos (`photo`, BYTES [N]).

        curl -d '{"inputs": [{"name": "photo", "datatype": "BYTES", "shape": [1], "data": ["…base64…"]}]}' \\
             http://127.0.0.1:8000/v2/models/cat-vs-dog/infer

    Outputs are those of the model, `label`, the class of least expected cost, and `reason`, why a person
    should look (`cost`, `unfamiliar` or empty). Photos go to the journal, and the answer's parameter
    `prediction_ids` names them for `/feedback`; pixels do not. Binary tensors, `outputs` (with
    `classification` the likeliest classes in words), `parameters` (`binary_data_output`, `timeout` in
    microseconds), gzip and deflate are understood.
    """
    live = state.of(request)
    serving = named(request)
    wait_s = asking.wait_s(request, live.settings)
    live.engine.admit(time.monotonic() + wait_s)
    content = await uploads.body(request, live.settings)
    began = time.monotonic()
    call = await _called(content, request, live.settings.max_bytes)
    deadline = began + min(wait_s, math.inf if call.timeout_s is None else call.timeout_s)
    batch = _batch(call.inputs, serving)
    if len(batch) > tensors.MAX_PHOTOS:
        raise tensors.too_many()
    wanted = _wanted(call, serving)
    names = tuple(wanted)
    parts: list[dict[str, Tensor]] = [{} for _ in batch]  # batches gain nothing on a CPU
    looked: dict[int, Done[Answer]] = {}  # at encoded photos

    async def ask(index: int) -> None:
        one = batch[index]
        if isinstance(one, bytes):
            parts[index], looked[index] = await _examined(one, serving, names, deadline, request)
        else:
            done: Done[dict[str, Tensor]] = await asking.result(
                live.engine, lambda given: _running(_same(serving, given), one, names), deadline
            )
            live.metrics.inferred(done)
            parts[index] = done.value

    await asking.each(request, len(parts), live.engine.thread_count, ask)
    for index, photo in enumerate(batch):
        if isinstance(photo, bytes):  # now that all are answered, so that the client learns the ids
            live.note(photo, looked[index])
    ids = [looked[index].value.id for index in sorted(looked)]
    calls.tell(request.scope, ids)
    write = partial(_response, request, serving, call, wanted, parts, ids)
    values = len(parts) * sum(np.size(parts[0][name]) for name in names)
    return await asyncio.to_thread(write) if values > _WRITTEN_ON_THE_LOOP_VALUES else write()


def alone(serving: Serving, call: tensors.Call) -> Steps[tuple[bytes, int | None]]:
    """The answer to a call for the pixels of one photo, as `tensors.write` gives it, on one thread.

    Raises HTTPException 400 where the model has no such input or output.
    """
    batch, wanted = _batch(call.inputs, serving), _wanted(call, serving)
    pixels = batch[0]
    assert not isinstance(pixels, bytes)
    yield
    parts = [(yield from _running(serving, pixels, tuple(wanted)))]
    return _written(serving, call, wanted, parts, [])


def _response(
    request: Request,
    serving: Serving,
    call: tensors.Call,
    wanted: Mapping[str, tensors.Asked],
    parts: list[dict[str, Tensor]],
    ids: list[str],
) -> Response:
    return _compressed(request, *_written(serving, call, wanted, parts, ids))


def _written(
    serving: Serving,
    call: tensors.Call,
    wanted: Mapping[str, tensors.Asked],
    parts: list[dict[str, Tensor]],
    ids: list[str],
) -> tuple[bytes, int | None]:
    header: dict[str, Any] = {  # Any: JSON
        "model_name": serving.model["name"],
        "model_version": str(serving.number),
    }
    if ids:
        header["parameters"] = {"prediction_ids": ",".join(ids)}
    if call.id is not None:
        header["id"] = call.id
    outputs = {name: _joined(parts, name) for name in wanted}
    for name, how in wanted.items():
        if how.top:
            outputs[name] = tensors.classified(np.asarray(outputs[name]), serving.classes, how.top)
    return tensors.write(header, outputs, wanted)


async def _called(content: bytes, request: Request, max_bytes: int) -> tensors.Call:
    header = tensors.header_length(request.headers.get(tensors.HEADER_LENGTH))
    is_packed = "content-encoding" in request.headers  # a few kilobytes may be many megabytes unpacked
    if not is_packed and (len(content) if header is None else header) <= _PARSED_ON_THE_LOOP_BYTES:
        return _call(content, request, max_bytes)
    return await asyncio.to_thread(_call, content, request, max_bytes)


def _call(content: bytes, request: Request, max_bytes: int) -> tensors.Call:
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        content = _inflated(content, coding, max_bytes)
    return tensors.read(content, tensors.header_length(request.headers.get(tensors.HEADER_LENGTH)))


def _inflated(content: bytes, coding: str, max_bytes: int) -> bytes:
    if coding not in _WINDOW_BITS:
        raise HTTPException(415, f"content-encoding {coding}: only gzip and deflate are understood")
    try:
        return b"".join(_pieces(content, coding, max_bytes))
    except zlib.error as error:
        raise HTTPException(400, f"the body is not {coding}, or not to its end: {error}") from None


def _pieces(content: bytes, coding: str, max_bytes: int) -> Iterator[bytes]:
    """What is in a compressed body, of gzip in all its members (RFC 1952, 2.2).

    Raises HTTPException for what is not whole, too large or followed by something else, zlib.error for
    what is no such coding.
    """
    inflater = zlib.decompressobj(_WINDOW_BITS[coding])
    place, size, member_count = 0, 0, 1
    while place < len(content):
        if inflater.eof:
            member_count += 1
            if coding != "gzip":
                raise HTTPException(400, f"there are bytes behind the end of the {coding} body")
            if member_count > _MOST_MEMBERS:
                raise HTTPException(400, f"the gzip body has more than {_MOST_MEMBERS:,} members")
            inflater = zlib.decompressobj(_WINDOW_BITS[coding])
        # A piece at a time: what stands behind a member is copied at each member's end.
        piece = content[place : place + _INFLATED_AT_ONCE_BYTES]
        plain = inflater.decompress(piece, max_bytes + 1 - size)
        place, size = place + len(piece) - len(inflater.unused_data), size + len(plain)
        if size > max_bytes:
            raise HTTPException(413, f"the body is larger than {max_bytes:,} bytes once unpacked")
        yield plain
    if not inflater.eof:
        raise HTTPException(400, f"the body is not whole {coding}")


def _batch(inputs: Mapping[str, Tensor], serving: Serving) -> Batch:
    """What to run the model on: pixels [N, S, S, 3], or N encoded photos."""
    pixels, photos = inputs.get("image"), inputs.get("photo")
    if len(inputs) == 1 and isinstance(photos, list) and photos:
        return photos
    if len(inputs) == 1 and isinstance(pixels, np.ndarray):
        size = serving.rule.size
        if pixels.ndim == 4 and pixels.shape[1:] == (size, size, 3) and len(pixels):
            return pixels.astype(np.uint8, copy=False)
        raise HTTPException(400, f'"image" has shape {list(pixels.shape)}, not [N, {size}, {size}, 3]')
    raise HTTPException(400, 'send one input: "image" (UINT8 [N, S, S, 3]) or "photo" (BYTES [N])')


def _wanted(call: tensors.Call, serving: Serving) -> dict[str, tensors.Asked]:
    """Each output that is to come, and how; as in Triton a count past the classes means all of them."""
    known = (*serving.session.outputs, *DECIDED)
    wanted = call.outputs or dict.fromkeys(known, tensors.Asked(call.is_binary))
    for name, how in wanted.items():
        if name not in known:
            raise HTTPException(400, f'there is no output "{name}" (outputs: {", ".join(known)})')
        if how.top and name != "probabilities":
            raise HTTPException(400, f'classification of "{name}": only "probabilities" can be classified')
    most = len(serving.classes)
    return {name: replace(how, top=most) if how.top > most else how for name, how in wanted.items()}


async def _examined(
    photo: bytes, serving: Serving, names: tuple[str, ...], deadline: float, request: Request
) -> tuple[dict[str, Tensor], Done[Answer]]:
    """The outputs of an encoded photo, and its answer as the journal wants it."""
    live = state.of(request)
    outputs = _of_the_model(names, serving)
    most = live.settings.max_pixels
    done: Done[tuple[Answer, dict[str, NDArray[np.float32]]]] = await asking.result(
        live.engine, lambda given: examining(_same(serving, given), photo, most, outputs), deadline
    )
    made, raw = done.value
    decided = {"label": [made.label.encode()], "reason": [(made.reason or "").encode()]}
    return _chosen(names, {**raw, **decided}), Done(made, done.waited_s, done.worked_s)


def _same(serving: Serving, given: Serving) -> Serving:
    """The model that the answer names, by the session that was given for it unless another came meanwhile."""
    return given if given.number == serving.number else serving


def _running(serving: Serving, pixels: NDArray[np.uint8], names: tuple[str, ...]) -> Steps[dict[str, Tensor]]:
    """The outputs of one photo's pixels [S, S, 3], each with one row."""
    outputs = serving.session.run(pixels[None], _of_the_model(names, serving))
    yield
    if set(DECIDED).isdisjoint(names):
        return _chosen(names, outputs)
    novelty = outputs.get("novelty")
    made = decide(outputs["probabilities"], serving.costs, novelty, serving.novelty_threshold)
    labels = [serving.classes[index].encode() for index in made.label]
    reasons = [(reason or "").encode() for reason in made.reasons]
    return _chosen(names, {**outputs, "label": labels, "reason": reasons})


def _of_the_model(names: tuple[str, ...], serving: Serving) -> tuple[str, ...]:
    """What the model must put out so that these can be answered."""
    return tuple({*names, *serving.outputs} - set(DECIDED))


def _chosen(names: tuple[str, ...], outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: outputs[name] for name in names}


def _joined(parts: list[dict[str, Tensor]], name: str) -> Tensor:
    pieces = [part[name] for part in parts]
    if isinstance(pieces[0], list):
        return [text for piece in pieces for text in piece]
    return np.concatenate(pieces)


def _compressed(request: Request, body: bytes, header_length: int | None) -> Response:
    headers = {} if header_length is None else {tensors.HEADER_LENGTH: str(header_length)}
    accepted = request.headers.get("accept-encoding", "")
    coding = next((name for name in _WINDOW_BITS if _is_accepted(name, accepted)), None)
    if coding and len(body) >= _WORTH_COMPRESSING_BYTES:
        deflater = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS[coding])
        body = deflater.compress(body) + deflater.flush()
        headers["Content-Encoding"] = coding
    kind = "application/json" if header_length is None else "application/octet-stream"
    return Response(body, headers=headers, media_type=kind)


def _is_accepted(coding: str, said: str) -> bool:
    """Whether an Accept-Encoding header names a coding, and not with the weight 0 (RFC 9110, 12.5.3)."""
    for entry in said.lower().replace(" ", "").split(","):
        name, _, weight = entry.partition(";q=")
        if name == coding:
            return not weight or weight.strip("0.") != ""
    return False
