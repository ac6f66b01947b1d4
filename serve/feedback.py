"""`POST /feedback`: a person says what is on a photo that was answered.

Knows the form of a correction. Knows nothing about where it is written.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pawloop.errors import nearest
from pawloop.sections import same_form
from serve import problems, state, uploads
from serve.parsing import parsed
from serve.routes import Bare

router = APIRouter(route_class=Bare, tags=["feedback"])


class Correction(BaseModel):
    """The id of an answer, and the right class, or null to take an earlier word back."""

    id: str = Field(examples=["019aaf0e-7c1b-7d6a-9d53-6e1c6a4b8f10"], json_schema_extra={"format": "uuid"})
    label: str | None = Field(examples=["dog"])


_LONGEST_LABEL: Final = 200

_BODY: Final[dict[str, Any]] = {  # Any: OpenAPI
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Correction"}}},
    }
}


@router.post(
    "/feedback",
    response_model=None,
    openapi_extra=_BODY,
    responses={200: {"model": Correction}, **problems.responses(400, 401, 403, 408, 409, 413, 415, 422, 503)},
)
async def feedback(request: Request) -> Response:
    """Say what the right class is; the answer comes once that is safe on disk.

        curl -H 'content-type: application/json' \\
             -d '{"id": "019aaf0e-7c1b-7d6a-9d53-6e1c6a4b8f10", "label": "dog"}' \\
             http://127.0.0.1:8000/feedback

    `id` is that of an earlier answer. Said twice, the later word counts; `"label": null` takes it back.
    """
    live = state.of(request)
    classes = live.engine.serving.classes if live.engine.has_model else live.classes
    content = await uploads.small_body(request, live.settings)
    correction = _correction(content, classes)
    await live.afterwards.caught_up()  # so that the answer is on disk, too
    await asyncio.wrap_future(live.recorder.judge(correction.id, correction.label))
    return Response(json.dumps(correction.model_dump()).encode(), media_type="application/json")


def _correction(content: bytes, classes: tuple[str, ...]) -> Correction:
    match parsed(content, "the body"):
        case {"id": str(given), "label": None}:
            return Correction(id=_prediction_id(given), label=None)
        case {"id": str(given), "label": str(label)}:
            pass
        case _:
            raise HTTPException(
                422, 'send {"id": "…", "label": "…"}, both as text; the label null takes it back'
            )
    if same_form(label) not in classes:
        short = label[:_LONGEST_LABEL]
        raise HTTPException(
            422, f'"{short}" is no class{nearest(short, classes)} (classes: {", ".join(classes)})'
        )
    return Correction(id=_prediction_id(given), label=same_form(label))


def _prediction_id(text: str) -> str:
    try:
        parsed = UUID(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.version != 7 or str(parsed) != text.lower():
        raise HTTPException(422, f'"{text[:60]}" is no id of a prediction; take the `id` of an answer')
    return str(parsed)
