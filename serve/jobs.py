"""What waits in the engine's queue, and learns what came of it.

Knows threads, deadlines and futures. Knows nothing about the queue, models or what a job does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from socket import socket
from typing import Generic, TypeVar

from serve.loading import Serving

T = TypeVar("T")
Steps = Generator[None, None, T]  # work that pauses where other jobs' steps may come between; returns a T
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What a job returned, and the seconds that it waited, also for others' steps, and worked."""

    value: T
    waited_s: float
    worked_s: float


class Job(ABC, Generic[T]):
    """One piece of work in the queue. deadline, queued_at: on the clock of `time.monotonic`.

    work: what to do, on a thread, in one go or in steps. at: the socket of a client that the event loop would
    not see leave.
    """

    __slots__ = ("at", "deadline", "queued_at")
    work: Callable[[Serving], T | Steps[T]]

    def __init__(self, deadline: float, at: socket | None = None) -> None:
        self.deadline = deadline
        self.queued_at = 0.0
        self.at = at

    @abstractmethod
    def settle(self, outcome: Done[T] | BaseException) -> None:
        """Take what came of it; called on the thread that worked, or on the one that saw it expire."""

    @abstractmethod
    def dropped(self) -> None:
        """Learn that nobody will work on it; called by whoever dropped it."""


class Caller(Job[T]):
    """A job that comes by a socket, again and again. wait_s: how long it may wait and take, each time.

    quiet_since: when it was expected last, on the clock of `time.monotonic`. It is dropped where it would
    find no place in the queue, or does not come for long.
    """

    __slots__ = ("quiet_since", "wait_s")
    at: socket

    def __init__(self, at: socket, wait_s: float) -> None:
        super().__init__(0.0, at)
        self.wait_s = wait_s
        self.quiet_since = time.monotonic()


class Awaited(Job[T]):
    """A job with the future of its answer."""

    __slots__ = ("future", "loop", "work")

    def __init__(
        self, work: Callable[[Serving], T | Steps[T]], deadline: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(deadline)
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Done[T]] = loop.create_future()

    def settle(self, outcome: Done[T] | BaseException) -> None:
        """Resolve the future, on its loop."""
        try:
            self.loop.call_soon_threadsafe(self._resolve, outcome)
        except RuntimeError:
            log.debug("the event loop ended before its answer came")

    def dropped(self) -> None:
        """Cancel the future."""
        self.future.cancel()

    def _resolve(self, outcome: Done[T] | BaseException) -> None:
        if self.future.done():  # a client that left cancelled it
            return
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)
