"""What lives as long as the server does, made by the lifespan, found by every route.

Knows what belongs together, and which parts learn of an answer. Knows nothing about what they do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fastapi import Request

from pawloop.registry import Registry
from pawloop.settings import Settings
from serve.afterwards import Afterwards
from serve.answer import Answer
from serve.engine import Engine
from serve.jobs import Done
from serve.recorder import Recorder
from serve.shadow import Shadow
from serve.uploads import Arriving
from serve.watcher import Watcher

if TYPE_CHECKING:  # it has a route of its own, which needs this module
    from serve.metrics import Metrics


@dataclass(frozen=True)
class Live:
    """The server's parts. classes: those of the problem, for corrections while no model serves.

    listed: what is told of each version, by number, with the stamps of the files that it was read from.
    """

    settings: Settings
    classes: tuple[str, ...]
    registry: Registry
    engine: Engine
    watcher: Watcher
    recorder: Recorder
    shadow: Shadow
    metrics: Metrics
    afterwards: Afterwards
    arriving: Arriving
    listed: dict[int, tuple[object, Any]] = field(default_factory=dict)  # Any: of `serve.models`

    @property
    def in_flight(self) -> int:
        """Requests being answered: those that the event loop read, and those that threads did."""
        return self.metrics.in_flight + self.engine.called

    @cached_property
    def default_wait_ms(self) -> bytes:
        """How long a call may take that does not say it, as it would say it."""
        return b"%d" % self.settings.timeout_ms

    def note(self, photo: bytes, done: Done[Answer]) -> None:
        """From the event loop: count an answered photo, journal it, and let the challenger see it."""
        self.metrics.answered(done)
        self.recorder.record(done.value, photo, done.waited_s + done.worked_s)
        self.shadow.follow(done.value, photo)


def of(request: Request) -> Live:
    """The parts of the server that got this request."""
    live: Live = request.app.state.live
    return live
