"""The server's application: its parts, made and ended by the lifespan, and its routes.

A table of contents. Knows nothing about sockets; `serve.run` starts it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import anyio.to_thread
from fastapi import FastAPI

from pawloop import problem
from pawloop.problem import Problem
from pawloop.registry import Registry
from pawloop.settings import Settings
from serve import access, feedback, health, infer, metrics, models, page, predict, problems, v2
from serve.afterwards import Afterwards
from serve.engine import Engine
from serve.express import Application
from serve.loading import HeadStart
from serve.recorder import Recorder
from serve.shadow import Shadow
from serve.state import Live
from serve.watcher import Watcher

log = logging.getLogger(__name__)

_EXPIRE_EVERY_S: Final = 0.05
_ABOUT = """Photos in, labels with probabilities out; the model behind it is retrained by Pawloop's flows
and replaced without a pause. Errors are problem documents (RFC 9457)."""


def create_app(settings: Settings, head_start: HeadStart | None = None) -> FastAPI:
    """The application that serves the champion of the problem that the settings name.

    head_start: a champion that is being loaded already.

    Raises ProblemFileError when there is no such problem, ServerError for unusable API keys.
    """
    served = problem.load(settings.problem)
    app = Application(
        has_keys=settings.api_keys is not None,
        title="Pawloop",
        version=_version(),
        description=_ABOUT,
        lifespan=_lifespan(settings, served, head_start),
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    for part in (predict, feedback, models, health, metrics, v2, infer, page):
        app.include_router(part.router)
    app.add_middleware(access.SameOrigin, hosts=access.hosts(settings))
    if settings.api_keys:
        app.add_middleware(access.Keys, names=access.read_keys(settings.api_keys))
    app.add_middleware(metrics.Counted)
    return app


def _lifespan(
    settings: Settings, served: Problem, head_start: HeadStart | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Live]]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Live]]:
        engine = Engine(settings.thread_count, settings.queue)
        recorder = Recorder(settings)
        shadow = Shadow(engine, recorder, settings.max_pixels)
        counts = metrics.Metrics()
        registry = Registry(settings.store, served.name)
        watcher = Watcher(registry, engine, shadow, settings, counts.served, counts.refused, head_start)
        parts = (registry, engine, watcher, recorder, shadow, counts, Afterwards())
        live = Live(settings, served.classes, *parts)
        app.state.live = live
        expiring = asyncio.create_task(_expire(engine))
        try:
            await anyio.to_thread.run_sync(watcher.start)
            if not engine.has_model:
                log.warning("%s: %s", served.name, engine.lack)
            yield {"live": live}  # for connections, which know no application
        finally:
            expiring.cancel()
            watcher.stop()
            engine.stop()
            live.afterwards.do()
            recorder.stop()

    return lifespan


async def _expire(engine: Engine) -> None:
    while True:
        await asyncio.sleep(_EXPIRE_EVERY_S)
        engine.expire()


def _version() -> str:
    try:
        return version("pawloop")
    except PackageNotFoundError:  # run from a checkout
        return "0"
