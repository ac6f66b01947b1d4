"""A request's photos in the engine's queue: how long they may wait, and whether anybody still does.

Knows requests and the engine. Knows nothing about answers' form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pawloop.settings import Settings
from serve.engine import Engine
from serve.jobs import Done, Steps
from serve.loading import Serving

T = TypeVar("T")

TIMEOUT_HEADER: Final = "x-request-timeout-ms"
TIMEOUT_PARAMETER: Final = {  # OpenAPI
    "name": TIMEOUT_HEADER,
    "in": "header",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    "description": "How long you are ready to wait; what no thread began by then gets 503.",
}
_MOST_DIGITS: Final = 9
# Watching whether the client left costs a task, so only those are watched that wait for long.
_UNWATCHED_S: Final = 0.03


def wait_s(request: Request, settings: Settings) -> float:
    """How long the client is ready to wait for its answer once its whole body is here.

    Raises HTTPException 422 where its header is no time.
    """
    asked = request.headers.get(TIMEOUT_HEADER)
    if asked is None:
        return settings.timeout_ms / 1000
    wait_ms = milliseconds(asked.encode("latin-1"))
    if wait_ms is None:
        raise HTTPException(422, f'{TIMEOUT_HEADER}: "{asked}" is not a whole number of milliseconds')
    return wait_ms / 1000


def milliseconds(asked: bytes) -> int | None:
    """A time as the header says it, at most eleven days; None for what is no such number."""
    is_number = asked.isdigit() and len(asked) <= _MOST_DIGITS
    return int(asked) or None if is_number else None


async def result(engine: Engine, work: Callable[[Serving], T | Steps[T]], deadline: float) -> Done[T]:
    """What `work` returns on one of the engine's threads. Raises as `Engine.submit`."""
    job = engine.submit(work, deadline)
    try:
        return await job.future
    except asyncio.CancelledError:
        engine.drop(job)
        raise
    finally:
        del job  # which holds an error that holds this frame, and what it was asked about


async def each(request: Request, count: int, width: int, ask: Callable[[int], Awaitable[None]]) -> None:
    """Call `ask` with 0 … count - 1, `width` of them at once, so that others find a place, too.

    Raises what the first that failed raised, and ClientDisconnect when the client left; the others are given
    up.
    """
    task = asyncio.current_task()
    assert task is not None
    watchers: list[asyncio.Task[None]] = []
    watch = partial(_cancel_when_gone, request, task)
    loop = asyncio.get_running_loop()
    timer = loop.call_later(_UNWATCHED_S, lambda: watchers.append(loop.create_task(watch())))
    try:
        await _each(count, width, ask)
    except asyncio.CancelledError:
        if watchers and watchers[0].done():
            task.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()


async def _each(count: int, width: int, ask: Callable[[int], Awaitable[None]]) -> None:
    if count == 1:  # a group of tasks costs more than the rest of the loop's work for it
        await ask(0)
        return
    rest = iter(range(count))

    async def take() -> None:
        for index in rest:
            await ask(index)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(width, count)):
                group.create_task(take())
    except BaseExceptionGroup as several:
        # Its way here leads back to it, which would keep every photo until the garbage collector comes.
        raise several.with_traceback(None).exceptions[0] from None


async def _cancel_when_gone(request: Request, task: asyncio.Task[Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    task.cancel()
