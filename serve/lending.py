"""The event loop's side of lending a connection to the inference threads (serve.lent): when, and until when.

By the second call with the same head in a row a client shows how it asks, so from then on the threads read
its calls by themselves. Knows lanes and the engine; knows nothing about the bytes of a request.
"""

from __future__ import annotations

import logging
from typing import Any

from serve.lane import Lane
from serve.lane_call import Call
from serve.lent import Head, Lent

log = logging.getLogger(__name__)


class LendingLane(Lane):
    """A lane that lends its connection, where the system can watch it."""

    def __init__(self, *given: Any, **named: Any) -> None:  # Any: uvicorn's own
        super().__init__(*given, **named)
        self._read = b""  # of this read, where it begins with a head
        self._head: Head | None = None  # of the latest call, where that came whole in one read
        self._lent: Lent | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """A client left."""
        lent = self._lent
        if lent is not None and self._live is not None:
            self._end_lending()
            self._live.engine.drop(lent)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came while it was not lent."""
        self._read = b"" if self._is_in_body or self._head_bytes else data
        super().data_received(data)
        self._read = b""

    def shutdown(self) -> None:
        """The server stops: what is lent comes home for that."""
        lent = self._lent
        if lent is not None and self._live is not None:
            with self._outlet.lock:
                lent.keep_alive = False
                is_home = self._live.engine.take_back(lent)
            if is_home:
                self.come_home(lent, b"")
                return
            if self._is_answered():  # a thread is about to read the next call, and leaves it to the loop
                return
        super().shutdown()

    def taken(self, lent: Lent, body: bytes) -> Call:
        """From a thread that read a call by itself."""
        call = Call(self, lent.errand, lent.wait_s, lent.keep_alive)
        call.body = body
        call.is_whole = call.is_asked = call.may_be_sent = call.is_lent = True
        self.cycle = call  # type: ignore[assignment]  # as in begin
        return call

    def come_home(self, lent: Lent, read: bytes) -> None:
        """From the loop: it reads this connection again. read: what a thread has read and not answered."""
        if self._lent is not lent:  # it was lost since
            return
        self._end_lending()
        if self.transport.is_closing():
            return
        read = read or (b"" if lent.keep_alive else lent.pending())
        if read:
            self.data_received(read)
        else:
            self._await_next(since=lent.quiet_since)
        if not lent.keep_alive:
            self.shutdown()

    @property
    def _is_home(self) -> bool:
        return self._lent is None

    def _put(self, call: Call) -> None:
        assert self._live is not None
        self._lent = lent = self._offered(call)
        if lent is None:
            super()._put(call)
            return
        call.at = lent.at
        try:
            super()._put(call)
        except BaseException:
            self._lent = self._head = None
            raise
        self._live.afterwards.expect()
        self.transport.pause_reading()

    def _may_send(self, call: Call) -> bool:
        if not super()._may_send(call):
            return False
        lent = self._lent
        if lent is None:
            return True
        call.disconnected = lent.keep_alive and lent.is_left()
        return lent.keep_alive and not call.disconnected

    def _sent(self) -> None:
        lent = self._lent  # once: the loop may end it meanwhile
        if lent is None or self._live is None:
            return
        try:
            self._live.engine.expect(lent)
        except OSError as error:  # the answer is out all the same
            log.warning("a connection is read by the event loop again: %s", error)
            lent.dropped()

    def _unsent(self, call: Call) -> None:
        super()._unsent(call)
        if self._lent is not None:
            call.keep_alive &= self._lent.keep_alive
            self._end_lending()

    def _offered(self, call: Call) -> Lent | None:
        """The connection, to be lent from this call on: the second with the same head."""
        assert self._live is not None
        before, self._head = self._head, None
        if call.may_be_sent and self._live.engine.watches:
            self._head = Head.of(self._read)
        if self._head is None or self._head != before:
            return None
        return Lent(self, self._live, call, self._head, self._outlet.socket)

    def _end_lending(self) -> None:
        assert self._live is not None
        self._lent = self._head = None
        self._live.afterwards.forget()
        if not self.transport.is_closing():
            self.transport.resume_reading()
