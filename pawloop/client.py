"""Ask a Pawloop server from Python, one photo or many, with or without asyncio.

    from pawloop.client import Client
    print(Client("http://127.0.0.1:8000").predict("cat.jpg").label)

Knows the HTTP API and when it is worth asking again. Knows nothing about models.
"""

from __future__ import annotations

import asyncio
import io
import random
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pawloop import directly
from pawloop.errors import (
    DeniedError,
    NoModelError,
    PhotoError,
    PhotoFormatError,
    PhotoTooLargeError,
    ServerError,
    UnreachableError,
)
from pawloop.image import DECODER_ERRORS

T = TypeVar("T")
Photo = Path | str | bytes | Image.Image | NDArray[np.uint8]

_Response = httpx.Response | httpx.TransportError
_Told = dict[str, Any]  # Any: JSON's values

# Waits double from the first to the last, each by chance between a half and the whole of it, so that
# many clients that were refused together do not come back together.
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_BUSY: Final = (429, 502, 503)  # too many calls, or a proxy whose server is not there just now
_AT_ONCE: Final = 8
_PNG_MODES: Final = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
_TIFF_MODES: Final = ("I", "F", "I;16B", "I;16L", "I;16N")  # deeper than a PNG holds; the server scales them
_IN_PNG: Final = {
    "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "LAB": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA",
}  # fmt: skip


@dataclass(frozen=True)
class Prediction:
    """A server's answer for one photo.

    probabilities: by class. reason: why a person should look, `cost` or `unfamiliar`, or None.
    """

    id: str
    label: str
    probability: float
    probabilities: dict[str, float]
    abstained: bool
    reason: Literal["cost", "unfamiliar"] | None
    model: str
    version: int


Outcome = Prediction | PhotoError | ServerError
OF_ALL: Final = (UnreachableError, DeniedError, NoModelError)  # errors that all other photos would meet, too


class Client:
    """A server, and a pool of connections to it."""

    def __init__(
        self, url: str, api_key: str | None = None, *, timeout_s: float = 30, attempts: int = 5
    ) -> None:
        """attempts: how often a photo is sent while the server is overloaded or cannot be reached."""
        self._attempts = attempts
        self._http = httpx.Client(**_way(url, api_key, timeout_s))

    def predict(self, photo: Photo) -> Prediction:
        """What is on a photo: a path, an image file's bytes, a Pillow image or pixels [H, W, 3].

        Raises PhotoError or a child of it for what cannot be read, UnreachableError where nobody answers,
        DeniedError where it wants another key, NoModelError where it has no model yet, ServerError for
        anything else.
        """
        return self._asked("/predict", _prediction, content=encoded(photo))

    def correct(self, prediction_id: str, label: str | None) -> None:
        """Say what the right class of an answered photo is; None takes an earlier word back.

        prediction_id: a Prediction's `id`. Returns once it is safe on the server's disk. Raises ServerError
        or a child of it, as `predict` does, with the server's words for a class that it does not know.
        """
        self._asked("/feedback", _nothing, json={"id": prediction_id, "label": label})

    def predict_many(self, photos: Iterable[Photo]) -> Iterator[Outcome]:
        """Answers in the order of the photos, several asked at once; an error where there is none.

        Photos are taken as they are asked about, so they may come from a camera that never ends. Raises
        what is `OF_ALL`: UnreachableError, DeniedError and NoModelError.
        """
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            asked: deque[Future[Outcome]] = deque()
            try:
                for photo in photos:
                    asked.append(pool.submit(self._predict_or_error, photo))
                    while asked and (asked[0].done() or len(asked) > _AT_ONCE):
                        yield asked.popleft().result()
                while asked:
                    yield asked.popleft().result()
            finally:
                for one in asked:
                    one.cancel()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _asked(self, path: str, read: Callable[[_Told], T], **body: Any) -> T:  # Any: httpx's own
        waits = _waits(self._attempts)
        while True:
            outcome: _Response
            try:
                outcome = self._http.post(path, **body)
            except httpx.TransportError as error:
                outcome = error
            wait_s = _wait_s(outcome, waits)
            if wait_s is None:
                return _understood(outcome, str(self._http.base_url), path, read)
            time.sleep(wait_s)

    def _predict_or_error(self, photo: Photo) -> Outcome:
        try:
            return self.predict(photo)
        except OF_ALL:
            raise
        except (PhotoError, ServerError) as error:
            return error


class AsyncClient:
    """As Client, for asyncio."""

    def __init__(
        self, url: str, api_key: str | None = None, *, timeout_s: float = 30, attempts: int = 5
    ) -> None:
        """As Client."""
        self._attempts = attempts
        self._http = httpx.AsyncClient(**_way(url, api_key, timeout_s))

    async def predict(self, photo: Photo) -> Prediction:
        """As Client.predict."""
        content = photo if isinstance(photo, bytes) else await asyncio.to_thread(encoded, photo)
        return await self._asked("/predict", _prediction, content=content)

    async def correct(self, prediction_id: str, label: str | None) -> None:
        """As Client.correct."""
        await self._asked("/feedback", _nothing, json={"id": prediction_id, "label": label})

    async def predict_many(self, photos: Iterable[Photo] | AsyncIterable[Photo]) -> AsyncIterator[Outcome]:
        """As Client.predict_many. Photos that are waited for, as a camera's, come from an AsyncIterable."""
        asked: deque[asyncio.Task[Outcome]] = deque()
        try:
            async for photo in _in_turn(photos):
                asked.append(asyncio.create_task(self._predict_or_error(photo)))
                await asyncio.sleep(0)  # so that it is asked now, not when all places are taken
                while asked and (asked[0].done() or len(asked) >= _AT_ONCE):
                    yield await asked.popleft()
            while asked:
                yield await asked.popleft()
        finally:
            for one in asked:
                one.cancel()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _asked(self, path: str, read: Callable[[_Told], T], **body: Any) -> T:  # Any: httpx's own
        waits = _waits(self._attempts)
        while True:
            outcome: _Response
            try:
                outcome = await self._http.post(path, **body)
            except httpx.TransportError as error:
                outcome = error
            wait_s = _wait_s(outcome, waits)
            if wait_s is None:
                return _understood(outcome, str(self._http.base_url), path, read)
            await asyncio.sleep(wait_s)

    async def _predict_or_error(self, photo: Photo) -> Outcome:
        try:
            return await self.predict(photo)
        except OF_ALL:
            raise
        except (PhotoError, ServerError) as error:
            return error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()


async def _in_turn(photos: Iterable[Photo] | AsyncIterable[Photo]) -> AsyncIterator[Photo]:
    if isinstance(photos, AsyncIterable):
        async for photo in photos:
            yield photo
    else:
        for photo in photos:
            yield photo


def encoded(photo: Photo) -> bytes:
    """A photo as the bytes of an image file; what is in memory is sent without loss.

    Raises PhotoError for a file that cannot be read or pixels that are no picture.
    """
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, (str, Path)):
        try:
            return Path(photo).read_bytes()
        except OSError as error:
            raise PhotoError(f"{photo}: cannot be read: {error.strerror}") from None
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise PhotoFormatError(f"pixels must be uint8 [H, W, 3], not {photo.dtype} {list(photo.shape)}")
        photo = Image.fromarray(photo)
    if not isinstance(photo, Image.Image):
        raise PhotoFormatError(
            f"a photo is a path, bytes, a Pillow image or pixels, not {type(photo).__name__}"
        )
    kind = "TIFF" if photo.mode in _TIFF_MODES else "PNG"
    mode = photo.mode if photo.mode in (*_PNG_MODES, *_TIFF_MODES) else _IN_PNG.get(photo.mode)
    if mode is None:
        raise PhotoFormatError(f'convert this Pillow image of mode {photo.mode} to "L" or "RGB"')
    file = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(photo)  # a PNG would lose the camera's note of how it was held
        kept = upright if upright.mode == mode else upright.convert(mode)
        kept.save(file, kind, compress_level=1)
    except DECODER_ERRORS as error:
        raise PhotoError(f"this Pillow image cannot be read: {error}") from None
    return file.getvalue()


def _way(url: str, api_key: str | None, timeout_s: float) -> dict[str, Any]:  # Any: httpx's own
    """How a server is reached: this very machine without any proxy that the environment names."""
    address = _address(url)
    return {
        "base_url": address,
        "headers": _headers(api_key),
        "timeout": timeout_s,
        "trust_env": not directly.is_here(address.host),
    }


def _address(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ServerError(f"{url}: is no address of a server: {error}") from None


def _headers(api_key: str | None) -> dict[bytes, bytes]:
    key = (api_key or "").strip()
    if any(ord(letter) < 32 for letter in key):
        raise ServerError("the API key holds a line break or another control character; give the key alone")
    return {b"x-api-key": key.encode()} if key else {}


def _waits(attempts: int) -> Iterator[float]:
    """Seconds to wait after each attempt but the last."""
    for attempt in range(attempts - 1):
        yield min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt) * random.uniform(0.5, 1)


def _wait_s(outcome: _Response, waits: Iterator[float]) -> float | None:
    """How long to wait before the same is asked again, or None where that would change nothing."""
    if isinstance(outcome, httpx.UnsupportedProtocol | httpx.ReadTimeout):
        return None  # a server that is at work would begin a second time
    if isinstance(outcome, httpx.TransportError):
        return next(waits, None)
    if outcome.status_code not in _BUSY:
        return None
    wait_s = next(waits, None)
    asked = outcome.headers.get("retry-after", "")
    return wait_s + min(float(asked), _LONGEST_WAIT_S) if wait_s and asked.isdecimal() else wait_s


def _understood(response: _Response, url: str, path: str, read: Callable[[_Told], T]) -> T:
    """The answer in a response, or what went wrong as one of our errors."""
    if isinstance(response, httpx.TransportError):
        if isinstance(response, httpx.UnsupportedProtocol):
            raise UnreachableError(f"{url} is no address of a server; one starts with http://") from response
        if isinstance(response, httpx.ReadTimeout):
            waited_s = response.request.extensions["timeout"]["read"]
            raise ServerError(
                f"{url} did not answer within {waited_s:g} s; give the client a larger timeout_s"
            ) from response
        raise UnreachableError(f"{url} cannot be reached: {response}; is the server running?") from response
    if response.status_code in (404, 405):
        raise DeniedError(
            f"{url} answers {response.status_code}: it has no {path}; name the server's "
            "address alone, such as http://127.0.0.1:8000"
        )
    if response.status_code == 413 and "json" not in response.headers.get("content-type", ""):
        raise PhotoTooLargeError(f"{url}: a proxy in front of the server lets no photo of this size pass")
    try:
        value = response.json()
        if response.is_success:
            return read(value)
        detail = str(value["detail"])
    except (ValueError, KeyError, TypeError):
        raise ServerError(f"{url} answers {response.status_code}, but not as a Pawloop server does") from None
    if response.status_code == httpx.codes.UNAUTHORIZED:
        detail += "; name it by --api-key, PAWLOOP_API_KEY or, in Python, the client's api_key"
        raise DeniedError(detail)
    if value.get("type") == "urn:pawloop:no-model":
        raise NoModelError(detail)
    kinds = {400: PhotoError, 413: PhotoTooLargeError}
    kind = PhotoFormatError if value.get("title") == "not an image" else kinds.get(response.status_code)
    raise (kind or ServerError)(detail)


def _prediction(value: _Told) -> Prediction:
    model = value["model"]
    names = ("id", "label", "probability", "probabilities", "abstained", "reason")
    return Prediction(
        **{name: value[name] for name in names}, model=model["name"], version=int(model["version"])
    )


def _nothing(_: _Told) -> None:
    """An answer that says only that it was done."""
