"""One call on the short way: a job of the engine, which stands where uvicorn has its cycle.

Knows what uvicorn reads and sets of its own cycle, and which lane it came by. Knows nothing about how a lane
answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from serve.errands import Errand
from serve.jobs import Done, Job

if TYPE_CHECKING:
    from serve.lane import Lane

log = logging.getLogger(__name__)


class Call(Job[object]):
    """One call on the short way. It stands where uvicorn has its cycle of request and response.

    The first four are what uvicorn's protocol reads and sets of that. wait_s: how long its client waits, once
    its body is whole. came: bytes of a body that is not. may_be_sent: whether the thread that answers may
    send the answer by itself. is_lent: whether a thread read the call, too. rest: what the thread could not
    send.
    """

    __slots__ = (
        "body", "body_timer", "came", "disconnected", "errand", "is_asked", "is_lent", "is_whole",
        "keep_alive", "lane", "may_be_sent", "message_event", "pieces", "response_complete", "rest", "wait_s",
        "work",
    )  # fmt: skip

    def __init__(self, lane: Lane, errand: Errand[object], wait_s: float, keep_alive: bool) -> None:
        super().__init__(time.monotonic() + wait_s)
        self.work = nothing
        self.wait_s = wait_s
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = keep_alive
        self.message_event = _NOBODY_WAITS
        self.lane, self.errand = lane, errand
        self.is_whole = self.is_asked = self.may_be_sent = self.is_lent = False
        self.pieces: list[bytes] = []
        self.came = 0
        self.body = self.rest = b""
        self.body_timer: asyncio.TimerHandle | None = None

    def settle(self, outcome: Done[object] | BaseException) -> None:
        """On the thread: send the answer, or let the event loop do it."""
        lane = self.lane
        try:
            if self.may_be_sent and isinstance(outcome, Done) and lane.send(self, outcome):
                return
        # whatever it is, the client learns of it from the loop
        except Exception as error:
            outcome = error
        try:
            lane.loop.call_soon_threadsafe(lane.answer, self, outcome)
        except RuntimeError:
            log.debug("the event loop ended before its answer came")

    def dropped(self) -> None:
        """Its client left."""
        self.lane.give_up(self)

    def stop_timer(self) -> None:
        """The body is whole, or nobody sends it any more."""
        if self.body_timer is not None:
            self.body_timer.cancel()


def nothing(_: object) -> object:
    """The work of a call before it is whole, and after it was answered."""
    raise RuntimeError("nobody asked")


class _Nobody:
    def set(self) -> None:
        """Nobody waits for this."""


_NOBODY_WAITS: Final = _Nobody()
