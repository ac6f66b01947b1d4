"""The server's application: its parts, made and ended by the lifespan, and its routes.

A table of contents. Knows nothing about sockets; `serve.run` starts it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

import anyio.to_thread
from fastapi import FastAPI

from pawloop import problem
from pawloop.errors import ProblemFileError
from pawloop.registry import Registry, name_of, names
from pawloop.settings import Settings
from serve import access, feedback, health, infer, metrics, models, page, predict, problems, v2
from serve.afterwards import Afterwards
from serve.bodiless import Bodiless
from serve.engine import Engine
from serve.express import Application
from serve.loading import HeadStart
from serve.recorder import Recorder
from serve.rounds import go_round
from serve.shadow import Shadow
from serve.state import Live
from serve.uploads import Arriving
from serve.watcher import Watcher

log = logging.getLogger(__name__)

_ABOUT = """Photos in, labels with probabilities out; the model behind it is retrained by Pawloop's flows
and replaced without a pause. Errors are problem documents (RFC 9457)."""


def create_app(settings: Settings, head_start: HeadStart | None = None) -> FastAPI:
    """The application that serves the champion of the problem that the settings name.

    head_start: a champion that is being loaded already.

    Raises ProblemFileError when there is neither such a problem nor such a model, ServerError for unusable
    API keys.
    """
    name = name_of(settings.store, settings.problem)
    app = Application(
        has_keys=settings.api_keys is not None,
        title="Pawloop",
        version=_version(),
        description=_ABOUT,
        lifespan=_lifespan(settings, name, head_start),
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    routers = [part.router for part in (predict, feedback, models, health, metrics, v2, infer, page)]
    for router in routers:
        app.include_router(router)
    app.add_middleware(Bodiless)
    app.add_middleware(
        access.SameOrigin, hosts=access.hosts(settings), origins=frozenset(settings.allowed_origins)
    )
    if settings.api_keys:
        app.add_middleware(access.Keys, names=access.read_keys(settings.api_keys))
    if settings.allowed_origins:  # around the keys, since a browser asks first whether it may show one
        access.share(app, settings.allowed_origins)
    app.add_middleware(metrics.Counted, routes=[route for router in routers for route in router.routes])
    return app


def _lifespan(
    settings: Settings, name: str, head_start: HeadStart | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Live]]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Live]]:
        engine = Engine(settings.thread_count, settings.queue)
        recorder = Recorder(settings)
        shadow = Shadow(engine, recorder, settings.max_pixels)
        counts = metrics.Metrics()
        registry = Registry(settings.store, name)
        watcher = Watcher(registry, engine, shadow, settings, counts.served, counts.refused, head_start)
        parts = (registry, engine, watcher, recorder, shadow, counts, Afterwards(), Arriving(settings))
        live = Live(settings, _classes(settings), *parts)
        app.state.live = live
        visits = (engine.look, engine.drop_left, engine.expire, engine.send_home, live.afterwards.do)
        rounds = asyncio.create_task(go_round(*visits))
        try:
            await anyio.to_thread.run_sync(watcher.start)
            if not engine.has_model:
                log.warning("%s: %s%s", name, engine.lack, _others(settings, name))
            yield {"live": live}  # for connections, which know no application
        finally:
            rounds.cancel()
            watcher.stop()
            engine.stop()
            await asyncio.sleep(0)  # answers that its threads left to this loop are sent, and noted
            live.afterwards.do()
            recorder.stop()

    return lifespan


def _classes(settings: Settings) -> tuple[str, ...]:
    """Those of the problem file; none where it cannot be read, and the store knows the model all the same."""
    try:
        return problem.load(settings.problem).classes
    except ProblemFileError as error:
        log.info("%s is served by what the store knows of it: %s", settings.problem, error)
        return ()


def _others(settings: Settings, name: str) -> str:
    """Which models the store holds in the place of one that has no version."""
    held = [one for one in names(settings.store) if one != name]
    return f"; {settings.store} holds {', '.join(held)}: name one by PAWLOOP_PROBLEM" if held else ""


def _version() -> str:
    try:
        return version("pawloop")
    except PackageNotFoundError:  # run from a checkout
        return "0"
