"""`POST /predict`: photos in, labels with probabilities out.

Knows the forms of request and answer. Knows nothing about threads or models.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from pawloop.errors import PhotoError
from serve import asking, calls, problems, state, uploads
from serve.answer import Answer, answering
from serve.jobs import Done
from serve.routes import Bare
from serve.state import Live

router = APIRouter(route_class=Bare, tags=["predict"])

_BASE64 = {"type": "string", "description": "base64, or a data URL"}
_FILE = {"type": "string", "format": "binary"}
_BODY: Final[dict[str, Any]] = {  # Any: OpenAPI
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": _FILE},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["photo"],
                    "properties": {"photo": {"type": "array", "items": _FILE, "minItems": 1}},
                }
            },
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"type": "object", "required": ["image"], "properties": {"image": _BASE64}},
                        {
                            "type": "object",
                            "required": ["images"],
                            "properties": {"images": {"type": "array", "items": _BASE64, "minItems": 1}},
                        },
                    ]
                }
            },
        },
    },
    "parameters": [asking.TIMEOUT_PARAMETER],
}


class Model(BaseModel):
    """Which model answered."""

    name: str = Field(examples=["cat-vs-dog"])
    version: int = Field(examples=[3])


class Prediction(BaseModel):
    """The answer for one photo. reason: why the model would rather ask a person, or null."""

    id: str = Field(examples=["019aaf0e-7c1b-7d6a-9d53-6e1c6a4b8f10"])
    label: str = Field(examples=["cat"])
    probability: float = Field(examples=[0.98])
    probabilities: dict[str, float] = Field(examples=[{"cat": 0.98, "dog": 0.02}])
    abstained: bool
    reason: Annotated[Literal["cost", "unfamiliar"] | None, Field(examples=[None])]
    model: Model


class Failed(BaseModel):
    """In the place of a photo that could not be read."""

    error: problems.Problem


class Predictions(BaseModel):
    """The answers for several photos, in the order sent."""

    predictions: list[Prediction | Failed]


@router.post(
    "/predict",
    response_model=None,
    openapi_extra=_BODY,
    responses={
        200: {"model": Prediction | Predictions},
        **problems.responses(400, 401, 403, 408, 413, 415, 422, 503),
    },
)
async def predict(request: Request) -> Response:
    """Say what is on a photo, or on several.

    The fast way is the photo as the body, as it is:

        curl --data-binary @cat.jpg -H 'content-type: image/jpeg' http://127.0.0.1:8000/predict

    Several at once, as files of a form of any name:

        curl -F photo=@cat.jpg -F photo=@dog.jpg http://127.0.0.1:8000/predict

    Or as base64 in JSON: `{"image": "…"}` or `{"images": ["…", "…"]}`, where a data URL is welcome, too.

    `abstained` says that a person should look: `reason` is `cost` (asking is cheaper than the mistake to
    be expected) or `unfamiliar` (unlike anything in training). Of several photos, one that cannot be read
    has `{"error": {…}}` in its place.
    """
    live = state.of(request)
    wait_s = asking.wait_s(request, live.settings)
    live.engine.admit(time.monotonic() + wait_s)  # both before a body is read that nobody could answer
    _ = live.engine.serving
    upload = await uploads.read(request, live.settings)
    deadline = time.monotonic() + wait_s
    made = await _asked(live, request, deadline, upload.photos)
    for photo, one in zip(upload.photos, made, strict=True):
        if isinstance(one, Done) and isinstance(photo, bytes):
            live.note(photo, one)
        elif isinstance(one, PhotoError) and not upload.is_list:
            raise one
    answered = [_told(one) for one in made]
    value = {"predictions": answered} if upload.is_list else answered[0]
    calls.tell(request.scope, [str(one["id"]) for one in answered if "id" in one])
    return Response(json.dumps(value).encode(), media_type="application/json")


async def _asked(
    live: Live, request: Request, deadline: float, photos: list[bytes | PhotoError]
) -> list[Done[Answer] | PhotoError]:
    """What came of each photo, in their order.

    Raises what `asking.each` raises of any of them: the client then gets no answer and no id, so the others
    are not to be journaled either.
    """
    made: dict[int, Done[Answer] | PhotoError] = {}

    async def ask(index: int) -> None:
        photo = photos[index]
        try:
            if isinstance(photo, PhotoError):
                raise photo
            work = partial(answering, photo=photo, max_pixels=live.settings.max_pixels)
            made[index] = await asking.result(live.engine, work, deadline)
        except PhotoError as error:
            made[index] = error.with_traceback(None)  # its way here leads past the photo

    await asking.each(request, len(photos), live.engine.thread_count, ask)
    return [made[index] for index in range(len(photos))]


def _told(one: Done[Answer] | PhotoError) -> dict[str, object]:
    return one.value.as_dict() if isinstance(one, Done) else {"error": problems.document(one)}
