"""A connection that the event loop has lent to the inference threads, which read its requests by themselves.

A client that asks again and again over one connection sends the same head each time, but for the length of
its photo. The event loop has parsed that head once. So a thread compares, reads the body, answers, and the
loop has nothing to do in between, which is most of what a server costs beside its model. Whatever is not
exactly that goes home to the loop, which sees the bytes as if it had read them. Knows the bytes of a request
and the lane that it came by; knows nothing about what is in a body.
"""

from __future__ import annotations

import logging
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pawloop.errors import OverloadedError
from serve.errands import Errand
from serve.jobs import Caller, Done, Steps
from serve.loading import Serving
from serve.porch import departures
from serve.state import Live

if TYPE_CHECKING:
    from serve.lane_call import Call
    from serve.lending import LendingLane

log = logging.getLogger(__name__)

_MOST_BYTES: Final = 1 << 18  # of a request; larger ones hardly ever are in the system's memory whole
_MOST_DIGITS: Final = 6
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_HEAD_ENDS: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """A head that was parsed, in two parts: what stands before the digits of its length, and behind them."""

    before: bytes
    behind: bytes

    @classmethod
    def of(cls, read: bytes) -> Head | None:
        """Of the bytes of one read; None where they are not one request, whole and nothing else."""
        body = read.find(_HEAD_ENDS) + len(_HEAD_ENDS)
        length = _LENGTH.search(read, 0, body)
        if length is None or len(read) - body != int(length[1]):
            return None
        return cls(read[: length.start(1)], read[length.end(1) : body])

    def body(self, read: bytes) -> bytes | None:
        """Of a request with this head, and its own length; None where the bytes are anything else."""
        digits = len(self.before)
        end = read.find(b"\r\n", digits, digits + _MOST_DIGITS + 2)
        body = end + len(self.behind)
        length = read[digits:end]
        is_one = end > 0 and read.startswith(self.before) and read.startswith(self.behind, end)
        if not is_one or not length.isdigit() or len(read) - body != int(length):
            return None
        return read[body:]


class _NotPlainError(Exception):
    """What came is for the event loop to read."""


class Lent(Caller[object]):
    """One connection, from when the loop stopped reading it until it goes home.

    keep_alive: whether it stays open after the next answer; looked at and changed with the outlet's lock.
    """

    __slots__ = (
        "_call", "_departure", "_head", "_headers", "_lane", "_live", "_read", "errand", "keep_alive",
    )  # fmt: skip

    def __init__(self, lane: LendingLane, live: Live, call: Call, head: Head, at: socket.socket) -> None:
        """call: the latest that came by it, with that head. at: the connection's socket for threads."""
        super().__init__(at, call.wait_s)
        self._live = live
        self.errand: Errand[object] = call.errand
        self.keep_alive = True
        self._lane = lane
        self._head = head
        self._headers = dict(lane.headers)
        self._departure = departures([at.fileno()])
        self._read = b""
        self._call: Call | None = None

    def work(self, serving: Serving) -> Steps[object]:
        """On a thread: read the request, and answer it where it is a plain one."""
        if self._live.shadow.number is not None:  # a challenger follows, while a thread is idle
            raise _NotPlainError
        body = self._received()
        work = None if body is None else self.errand.work(self._live.settings, self._headers, body)
        if body is None or work is None or work.timeout_s is not None:
            raise _NotPlainError
        self._call = self._lane.taken(self, body)
        return (yield from work.run(serving))

    def settle(self, outcome: Done[object] | BaseException) -> None:
        """Answer the request that came, or let the loop read it."""
        if isinstance(outcome, OverloadedError) and self._call is None:  # its time was up before it was read
            body = self._received()
            self._call = None if body is None else self._lane.taken(self, body)
        call, read = self._call, self._read
        self._call, self._read = None, b""
        if call is None:
            self._go_home(read)
        else:
            call.settle(outcome)

    def dropped(self) -> None:
        """There was no place for it, its client left or it was quiet: the loop finds that out, too."""
        self._go_home(b"")

    def is_left(self) -> bool:
        """Whether its client closed it."""
        return bool(self._departure.poll(0))

    def pending(self) -> bytes:
        """What can be read by now."""
        try:
            return self.at.recv(_MOST_BYTES)
        except OSError:  # nothing, or nobody
            return b""

    def _received(self) -> bytes | None:
        """The body of the request that came; None where it is not a plain one."""
        self._read = self.pending()
        body = self._head.body(self._read)
        is_plain = body is not None and len(body) <= self._live.settings.max_bytes and not self.is_left()
        return body if is_plain else None

    def _go_home(self, read: bytes) -> None:
        try:
            self._lane.loop.call_soon_threadsafe(self._lane.come_home, self, read)
        except RuntimeError:
            log.debug("the event loop ended before its connection came home")
