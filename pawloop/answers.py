"""Answers to many photo files, from a server or from the champion in this very process.

Knows files and who answers. Knows nothing about printing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pawloop.client import OF_ALL, Client
from pawloop.errors import PhotoError, ServerError
from pawloop.settings import Settings

Answer = dict[str, Any]  # what POST /predict answers, or {"error": words}
_AT_ONCE = 8


def answer_all(
    photos: Sequence[Path], settings: Settings, name: str, url: str
) -> Iterator[tuple[Path, Answer]]:
    """Each photo with its answer, in order; a photo that cannot be read has an error in its place.

    Raises NoModelError when there is no champion, here or there, UnreachableError once no server answers at
    `url`, DeniedError where it wants another key.
    """
    if url:
        yield from _from_server(photos, url, settings.api_key)
    else:
        yield from _from_champion(photos, settings, name)


def _from_champion(photos: Sequence[Path], settings: Settings, name: str) -> Iterator[tuple[Path, Answer]]:
    from serve.predictor import Predictor

    predictor = Predictor(settings, name)

    with ThreadPoolExecutor(settings.thread_count) as pool:
        yield from zip(photos, pool.map(partial(_answer, predictor.predict), photos), strict=True)


def _from_server(photos: Sequence[Path], url: str, api_key: str) -> Iterator[tuple[Path, Answer]]:
    with Client(url, api_key=api_key) as client, ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = partial(_answer, lambda content: asdict(client.predict(content)))
        yield from zip(photos, pool.map(asked, photos), strict=True)


def _answer(ask: Callable[[bytes], Answer], path: Path) -> Answer:
    try:
        return ask(path.read_bytes())
    except OSError as error:
        return {"error": f"cannot be read: {error.strerror}"}
    except OF_ALL:
        raise
    except (PhotoError, ServerError) as error:
        return {"error": str(error)}
