"""The short way for the plainest calls (serve.errands): from the connection to a thread and back.

ASGI, its task and its objects cost the event loop more than all else that it does for a photo, measured. So
the plain case, most of all calls, goes around them, and the thread that made an answer sends it, too;
whatever asks for more (API keys, a browser's Origin, a form, no length, a second request before the first is
answered) goes the long way, and both answer alike. Knows uvicorn's protocol class and the engine; knows
nothing about what is in a body.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time
from functools import partial
from typing import Any, Final

from pawloop.errors import OverloadedError
from serve import asking, errands, problems, uploads, wire
from serve.errands import Errand
from serve.heads import LimitedHeads
from serve.jobs import Done
from serve.lane_call import Call, nothing
from serve.outlet import Outlet
from serve.state import Live

log = logging.getLogger(__name__)

_TIMEOUT: Final = asking.TIMEOUT_HEADER.encode()
_LONG_WAY: Final = frozenset({b"origin", b"expect", b"upgrade", b"transfer-encoding", b"content-encoding"})
_WHOLE_BYTES: Final = 1 << 20  # bodies up to here wake their route once, when they are whole
_UPLOAD_S: Final = 30.0  # where no settings say it


class Lane(LimitedHeads):
    """uvicorn's protocol with limited heads, and the short way where the server's state allows it."""

    def __init__(self, *given: Any, **named: Any) -> None:  # Any: uvicorn's own
        super().__init__(*given, **named)
        live: Live | None = self.app_state.get("live")  # from the lifespan
        is_plain = live is not None and not live.settings.api_keys and not live.settings.access_log
        self._live = live if is_plain else None
        self._errands = {} if live is None else errands.errands(live.registry.name)
        self._upload_s = _UPLOAD_S if live is None else live.settings.upload_timeout_s
        self._late_body: asyncio.TimerHandle | None = None  # of a call that was answered before it was whole
        self._waits_for_whole = False
        # Whether the connection ends after a request that went the long way. Not before its body was read:
        # a client that is still sending when it is reset never reads its answer.
        self._closes = False
        self._outlet = Outlet()
        self.resumed = 0  # how often the client had read so much that more could be written

    def connection_lost(self, exc: Exception | None) -> None:
        """A client left: what it asked for and no thread has taken is dropped."""
        self._outlet.close(self._forget_socket)
        self._stop_waiting()
        call = self._call()
        super().connection_lost(exc)
        if call is None:
            return
        call.stop_timer()  # also of a call that was refused before its body was whole
        if not call.response_complete:
            if not call.is_asked:
                self._end(call, problems.CLIENT_GONE)
            elif self._live is not None:
                self._live.engine.drop(call)

    def resume_writing(self) -> None:
        """The client read on."""
        self.resumed += 1
        super().resume_writing()

    def shutdown(self) -> None:
        """The server stops: a thread that is sending is waited for, so that it knows, or we know of it."""
        with self._outlet.lock:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Bytes came; a body that is not whole after them gets its time limit."""
        super().data_received(data)
        call = self._call()
        if call is not None and not call.is_whole and call.body_timer is None and self._live is not None:
            call.body_timer = self.loop.call_later(self._upload_s, self._give_up_body, call, self._upload_s)
        elif call is None and self._late_body is None and self._is_in_body and self._is_answered():
            self._late_body = self.loop.call_later(self._upload_s, self.timeout_keep_alive_handler)

    def begin(self) -> None:
        """A head is whole: take the short way, refuse at once, or leave it to ASGI."""
        with self._outlet.lock:  # an answer that its thread is sending is complete by then
            live = self._live
            found = None if live is None else self._errand(live)
            if live is None or found is None:
                self._waits_for_whole = self._announced() <= _WHOLE_BYTES and not self.expect_100_continue
                super().begin()
                if not self.expect_100_continue:
                    self._closes, self.cycle.keep_alive = not self.cycle.keep_alive, True
                return
            is_new = self.parser.get_http_version() != "1.0"
            call = Call(self, *found, is_new and self.parser.should_keep_alive())
            self.cycle = call  # type: ignore[assignment]  # it has what uvicorn uses of one
        live.metrics.in_flight += 1
        try:
            live.engine.admit(call.deadline)
        except OverloadedError as error:  # its body is read and forgotten
            self._fail(call, error)

    def piece(self, body: bytes) -> None:
        """A piece of a body."""
        call = self._call()
        if call is None and self._waits_for_whole and not self.cycle.response_complete:
            self.cycle.body += body  # and wakes nobody, until it is whole
        elif call is None:
            super().piece(body)
        elif not call.response_complete:
            self._keep(call, body)

    def end(self) -> None:
        """A body is whole: its call goes into the queue."""
        self._stop_waiting()
        call, is_answered = self._call(), self._is_answered()
        if call is None:
            self.cycle.keep_alive &= not self._closes
            super().end()
        else:
            call.is_whole = True
            call.stop_timer()
            self._count_off(call)
            if not is_answered:
                self._ask(call)
        if is_answered and not self.cycle.keep_alive:
            self.transport.close()
        elif is_answered and not self.transport.is_closing():  # its body undid the wait for the next one
            self._await_next()

    def send(self, call: Call, done: Done[object]) -> bool:
        """From the thread that answered: send it; False when the event loop must do that."""
        assert self._live is not None
        answer = self._whole(call, 200, *call.errand.told(done.value))
        with self._outlet.lock:
            if not self._may_send(call):
                return False
            call.rest = self._outlet.send(answer)
            if call.rest:
                return False
            call.response_complete = True
            self._live.afterwards.leave(partial(self._finish, call, done))
            self._sent()
        return True

    def answer(self, call: Call, outcome: Done[object] | BaseException) -> None:
        """From the loop: what a thread did not send."""
        assert self._live is not None
        self._unsent(call)
        if not isinstance(outcome, Done):
            self._fail(call, outcome)
            return
        if call.disconnected:  # nobody was given it, so it is no answer that a person could judge
            self._end(call, problems.CLIENT_GONE)
            return
        self._note(call, outcome)
        try:
            told = (b"", b"") if call.rest else call.errand.told(outcome.value)
        # as the long way's outermost layer does
        except Exception as error:
            self._fail(call, error)
        else:
            self._send(call, 200, *told)

    def give_up(self, call: Call) -> None:
        """From the loop: nobody will work on a call, since its client left."""
        self._unsent(call)
        self._end(call, problems.CLIENT_GONE)

    @property
    def _is_home(self) -> bool:
        """Whether the event loop reads this connection."""
        return True

    def _put(self, call: Call) -> None:
        """Queue a call. Raises as the engine does."""
        assert self._live is not None
        self._live.engine.put(call)

    def _may_send(self, call: Call) -> bool:
        """From the thread that answered, with the outlet's lock: whether it is for it to send."""
        is_free = self._outlet.is_open and not self.pipeline and not self.transport.is_closing()
        return is_free and call.keep_alive

    def _sent(self) -> None:
        """Likewise, after it has sent."""

    def _unsent(self, call: Call) -> None:
        """A thread has not sent the answer of a call."""
        assert self._live is not None
        if call.may_be_sent and not call.is_lent:
            self._live.afterwards.forget()

    def _forget_socket(self, at: socket.socket) -> None:
        assert self._live is not None
        self._live.engine.forget(at)

    def _await_next(self, since: float | None = None) -> None:
        """since: when it became idle, on the clock of `time.monotonic`; None is now."""
        self._unset_keepalive_if_required()
        past_s = 0.0 if since is None else time.monotonic() - since
        wait_s = max(0.0, self.timeout_keep_alive - past_s)
        self.timeout_keep_alive_task = self.loop.call_later(wait_s, self.timeout_keep_alive_handler)

    def _announced(self) -> float:
        """Bytes of the body that the head announces; infinite where it announces none."""
        return next((int(value) for name, value in self.headers if name == b"content-length"), math.inf)

    def _is_answered(self) -> bool:
        """Whether the latest call has its answer."""
        return self.cycle is not None and self.cycle.response_complete

    def _stop_waiting(self) -> None:
        if self._late_body is not None:
            self._late_body.cancel()
            self._late_body = None

    def _call(self) -> Call | None:
        cycle: object = self.cycle
        return cycle if type(cycle) is Call else None

    def _errand(self, live: Live) -> tuple[Errand[object], float] | None:
        """What is asked for, and how many seconds its client waits; None for the long way."""
        errand = self._errands.get(self.url)
        if errand is None or self.parser.get_method() != b"POST" or not live.engine.has_model:
            return None
        before = self.cycle
        if (before is not None and not before.response_complete) or self.flow.write_paused:
            return None
        headers = dict(self.headers)
        length = int(headers.get(b"content-length", -1))  # the parser let nothing but digits through
        wait_ms = asking.milliseconds(headers.get(_TIMEOUT, live.default_wait_ms))
        if (
            not _LONG_WAY.isdisjoint(headers)
            or len(headers) != len(self.headers)
            or not 0 <= length <= live.settings.max_bytes
            or wait_ms is None
            or not errand.is_plain(headers)
        ):
            return None
        return errand, wait_ms / 1000

    def _keep(self, call: Call, piece: bytes) -> None:
        assert self._live is not None
        call.pieces.append(piece)
        call.came += len(piece)
        try:
            self._live.arriving.came(len(piece))
        except OverloadedError as error:  # the rest of the body is read and forgotten
            self._fail(call, error)

    def _count_off(self, call: Call) -> None:
        assert self._live is not None
        self._live.arriving.gone(call.came)
        call.came = 0

    def _ask(self, call: Call) -> None:
        assert self._live is not None
        call.body = call.pieces[0] if len(call.pieces) == 1 else b"".join(call.pieces)
        call.pieces.clear()
        try:
            work = call.errand.work(self._live.settings, dict(self.headers), call.body)
            if work is None:
                self._go_the_long_way(call)
                return
            call.work = work.run
            wait_s = call.wait_s if work.timeout_s is None else min(call.wait_s, work.timeout_s)
            call.deadline = time.monotonic() + wait_s
            # A challenger follows while a thread is idle, and afterwards may be too late for that.
            is_alone = self._live.shadow.number is None
            call.may_be_sent = call.keep_alive and is_alone and self._outlet.open(self.transport)
            self._put(call)
        # as the long way's outermost layer does: any error gets its document, a surprise its traceback
        except Exception as error:
            self._fail(call, error)
            return
        call.is_asked = True
        if call.may_be_sent:
            self._live.afterwards.expect()

    def _go_the_long_way(self, call: Call) -> None:
        """A call turns out to ask for more, now that its body is here: ASGI gets it as if it came now."""
        assert self._live is not None
        self._live.metrics.in_flight -= 1
        call.response_complete = True
        super().begin()
        self.cycle.keep_alive &= call.keep_alive  # the server may be stopping since
        self.cycle.body += call.body
        super().end()

    def _finish(self, call: Call, done: Done[object]) -> None:
        """After a thread has sent an answer."""
        assert self._live is not None
        if not call.is_lent:
            self._live.afterwards.forget()
        self._note(call, done)
        self._forget(call, 200)
        if self._call() is call and self._is_home:
            self.on_response_complete()
        else:  # the next request came first
            self.server_state.total_requests += 1

    def _note(self, call: Call, done: Done[object]) -> None:
        assert self._live is not None
        try:
            call.errand.note(self._live, call.body, done)
        # an answer that was found is given all the same
        except Exception:
            log.exception("an answer was given, but not noted")

    def _fail(self, call: Call, error: BaseException) -> None:
        """Any error gets its document, a surprise its traceback, as in the long way's outermost layer."""
        status, told, body = wire.error(call.errand.path, error)
        if status == 500:
            log.error("a prediction failed", exc_info=error)
        call.keep_alive &= b"connection: close" not in told
        self._send(call, status, told, body)

    def _send(self, call: Call, status: int, headers: bytes, body: bytes) -> None:
        if not call.disconnected and not self.transport.is_closing():
            self.transport.write(call.rest or self._whole(call, status, headers, body))
        self._end(call, status)

    def _whole(self, call: Call, status: int, headers: bytes, body: bytes) -> bytes:
        common = self.server_state.default_headers
        return wire.whole(status, common, headers, body, closes=not call.keep_alive)

    def _end(self, call: Call, status: int) -> None:
        """A call is answered, or will not be."""
        call.response_complete = True
        self._forget(call, status)
        if call.is_whole and not call.keep_alive and not self.transport.is_closing():
            self.transport.close()
        self.on_response_complete()

    def _forget(self, call: Call, status: int) -> None:
        assert self._live is not None
        self._count_off(call)
        # An idle connection keeps its call, which must not keep a photo or a model that was replaced.
        call.pieces, call.body, call.rest, call.work = [], b"", b"", nothing
        del call.lane  # or the two would wait for the garbage collector
        if not call.is_lent:
            self._live.metrics.in_flight -= 1
        self._live.metrics.count(call.errand.route, "POST", status)

    def _give_up_body(self, call: Call, limit_s: float) -> None:
        if not call.response_complete:
            self._fail(call, uploads.too_slow(limit_s))
        if not self.transport.is_closing():
            self.transport.close()
