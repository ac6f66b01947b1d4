"""What may go the short way, and how it is done: a photo as it is, or the pixels of one photo in binary.

Knows requests' heads and answers' form. Knows nothing about connections or threads.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final, Generic, TypeVar

import numpy as np

from pawloop.settings import Settings
from serve import infer, tensors, uploads
from serve.answer import Answer, answering
from serve.jobs import Done, Steps
from serve.loading import Serving
from serve.state import Live

T = TypeVar("T")

_LENGTH: Final = tensors.HEADER_LENGTH.lower().encode()
_JSON: Final = b"content-type: application/json\r\n"
_BINARY: Final = b"content-type: application/octet-stream\r\n" + _LENGTH + b": %d\r\n"
_MOST_PIXEL_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """What a thread is to do. timeout_s: how long its client waits, where the body says it."""

    run: Callable[[Serving], Steps[T]]
    timeout_s: float | None = None


class Errand(ABC, Generic[T]):
    """One kind of call. route: what metrics call it. path: of it, for the form of its errors."""

    route: str
    path: str

    @abstractmethod
    def is_plain(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request with this head may go the short way."""

    @abstractmethod
    def work(self, settings: Settings, headers: Mapping[bytes, bytes], body: bytes) -> Work[T] | None:
        """What a thread is to do; None where it turns out to be no errand of this kind.

        Raises HTTPException for what cannot be understood.
        """

    @abstractmethod
    def told(self, value: T) -> tuple[bytes, bytes]:
        """Headers and body of the answer."""

    @abstractmethod
    def note(self, live: Live, body: bytes, done: Done[T]) -> None:
        """From the event loop, once it was answered: count and journal it."""


class Photo(Errand[Answer]):
    """`POST /predict` with a photo as the body."""

    route = path = "/predict"

    def is_plain(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whatever is not called something else."""
        return uploads.is_raw(headers.get(b"content-type", b"").decode("latin-1"))

    def work(self, settings: Settings, _headers: Mapping[bytes, bytes], body: bytes) -> Work[Answer]:
        """Decode, infer, decide."""
        return Work(partial(answering, photo=body, max_pixels=settings.max_pixels))

    def told(self, value: Answer) -> tuple[bytes, bytes]:
        """As `predict` tells it."""
        return _JSON, json.dumps(value.as_dict()).encode()

    def note(self, live: Live, body: bytes, done: Done[Answer]) -> None:
        """As `predict` does."""
        live.note(body, done)


Written = tuple[bytes, int | None]


class Pixels(Errand[Written]):
    """`POST /v2/models/NAME/infer` with the pixels of one photo as a binary tensor."""

    route = "/v2/models/{name}/infer"

    def __init__(self, name: str) -> None:
        self.path = f"/v2/models/{name}/infer"

    def is_plain(self, headers: Mapping[bytes, bytes]) -> bool:
        """Binary, no larger than one photo's pixels, and nothing compressed."""
        is_small = int(headers[b"content-length"]) <= _MOST_PIXEL_BYTES
        return is_small and _LENGTH in headers and b"accept-encoding" not in headers

    def work(self, _settings: Settings, headers: Mapping[bytes, bytes], body: bytes) -> Work[Written] | None:
        """Infer and decide; several photos, or encoded ones, are none of this."""
        call = tensors.read(body, tensors.header_length(headers[_LENGTH].decode("latin-1")))
        image = call.inputs.get("image")
        if len(call.inputs) != 1 or not isinstance(image, np.ndarray) or image.shape[:1] != (1,):
            return None
        return Work(partial(infer.alone, call=call), call.timeout_s)

    def told(self, value: Written) -> tuple[bytes, bytes]:
        """As `infer` tells it."""
        body, header_length = value
        return _JSON if header_length is None else _BINARY % header_length, body

    def note(self, live: Live, _body: bytes, done: Done[Written]) -> None:
        """Pixels are counted, and not journaled."""
        live.metrics.inferred(done)


@lru_cache
def errands(model: str) -> dict[bytes, Errand[object]]:
    """By the path that asks for them."""
    kinds: tuple[Errand[Answer] | Errand[Written], ...] = (Photo(), Pixels(model))
    return {kind.path.encode(): kind for kind in kinds}  # type: ignore[misc]  # an Errand[T] among others
