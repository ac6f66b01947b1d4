"""The short way for a photo as the body of `POST /predict`: from the connection to a thread and back.

ASGI, its task and its objects cost the event loop more than all else that it does for a photo, measured. So
the plain case, most of all calls, goes around them; whatever asks for more (API keys, a browser's Origin, a
form, no length, a second request before the first is answered) goes the long way, and both answer alike.
Knows uvicorn's protocol class and the engine; knows nothing about what is in a photo.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from functools import lru_cache, partial
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from pawloop.errors import OverloadedError
from serve import asking, problems, uploads
from serve.answer import Answer, answer
from serve.engine import Done, Job
from serve.heads import LimitedHeads
from serve.state import Live

log = logging.getLogger(__name__)

_URL: Final = b"/predict"
_TIMEOUT: Final = asking.TIMEOUT_HEADER.encode()
_LONG_WAY: Final = frozenset({b"origin", b"expect", b"upgrade", b"transfer-encoding", b"content-encoding"})
_OK: Final = STATUS_LINE[200]
_WHOLE_BYTES: Final = 1 << 20  # bodies up to here wake their route once, when they are whole
_CLOSE: Final = b"connection: close\r\n"
_JSON: Final = b"content-type: application/json\r\n"


class Call:
    """A photo on the short way. It stands where uvicorn has its cycle of request and response.

    The first four are what uvicorn's protocol reads and sets of that.
    """

    __slots__ = (
        "body_timer", "deadline", "disconnected", "is_whole", "job", "keep_alive", "message_event", "photo",
        "pieces", "response_complete",
    )  # fmt: skip

    def __init__(self, deadline: float, keep_alive: bool) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = keep_alive
        self.message_event = _NOBODY_WAITS
        self.is_whole = False
        self.deadline = deadline
        self.pieces: list[bytes] = []
        self.photo = b""
        self.job: Job[Answer] | None = None
        self.body_timer: asyncio.TimerHandle | None = None


class Lane(LimitedHeads):
    """uvicorn's protocol with limited heads, and the short way where the server's state allows it."""

    def __init__(self, *given: Any, **named: Any) -> None:  # Any: uvicorn's own
        super().__init__(*given, **named)
        live: Live | None = self.app_state.get("live")  # from the lifespan
        is_plain = live is not None and not live.settings.api_keys and not live.settings.access_log
        self._live = live if is_plain else None
        self._waits_for_whole = False

    def connection_lost(self, exc: Exception | None) -> None:
        """A client left: what it asked for and no thread has taken is dropped."""
        call = self._call()
        super().connection_lost(exc)
        if call is not None and not call.response_complete:
            self._stop_timer_of(call)
            if call.job is None:
                self._end(call, problems.CLIENT_GONE)
            elif self._live is not None:
                self._live.engine.drop(call.job)

    def data_received(self, data: bytes) -> None:
        """Bytes came; a body that is not whole after them gets its time limit."""
        super().data_received(data)
        call = self._call()
        if call is not None and not call.is_whole and call.body_timer is None and self._live is not None:
            limit_s = self._live.settings.upload_timeout_s
            call.body_timer = self.loop.call_later(limit_s, self._give_up_body, call, limit_s)

    def begin(self) -> None:
        """A head is whole: take the short way, refuse at once, or leave it to ASGI."""
        live = self._live
        deadline = None if live is None else self._deadline(live)
        if live is None or deadline is None:
            self._waits_for_whole = self._announced() <= _WHOLE_BYTES and not self.expect_100_continue
            super().begin()
            return
        is_new = self.parser.get_http_version() != "1.0"
        call = Call(deadline, is_new and self.parser.should_keep_alive())
        self.cycle = call  # type: ignore[assignment]  # it has what uvicorn uses of one
        live.metrics.in_flight += 1
        try:
            live.engine.admit(deadline)
        except OverloadedError as error:  # its body is read and forgotten
            self._fail(call, error)

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        call = self._call()
        if call is None and self._waits_for_whole and not self.cycle.response_complete:
            self.cycle.body += body  # and wakes nobody, until it is whole
        elif call is None:
            super().on_body(body)
        elif not call.response_complete:
            call.pieces.append(body)

    def on_message_complete(self) -> None:
        """A body is whole: its photo goes into the queue."""
        call = self._call()
        if call is None:
            super().on_message_complete()
            return
        call.is_whole = True
        self._stop_timer_of(call)
        if not call.response_complete:
            self._ask(call)
        elif not self.transport.is_closing():  # it was refused; its body undid the wait for the next one
            self._unset_keepalive_if_required()
            wait_s = self.timeout_keep_alive
            self.timeout_keep_alive_task = self.loop.call_later(wait_s, self.timeout_keep_alive_handler)

    def _announced(self) -> float:
        """Bytes of the body that the head announces; infinite where it announces none."""
        return next((int(value) for name, value in self.headers if name == b"content-length"), math.inf)

    def _call(self) -> Call | None:
        cycle: object = self.cycle
        return cycle if type(cycle) is Call else None

    def _deadline(self, live: Live) -> float | None:
        """When the client wants its answer, on the clock of `time.monotonic`; None for the long way."""
        if self.url != _URL or self.parser.get_method() != b"POST" or not live.engine.has_model:
            return None
        before = self.cycle
        if (before is not None and not before.response_complete) or self.flow.write_paused:
            return None
        wait_ms, length = live.settings.timeout_ms, -1
        for name, value in self.headers:
            if name == b"content-length":
                length = int(value)  # the parser let nothing but digits through
            elif name == b"content-type":
                if not uploads.is_raw(value.decode("latin-1")):
                    return None
            elif name == _TIMEOUT:
                if not value.isdigit() or not 0 < int(value) < asking.LONGEST_MS:
                    return None
                wait_ms = int(value)
            elif name in _LONG_WAY:
                return None
        return time.monotonic() + wait_ms / 1000 if 0 <= length <= live.settings.max_bytes else None

    def _ask(self, call: Call) -> None:
        assert self._live is not None
        call.photo = call.pieces[0] if len(call.pieces) == 1 else b"".join(call.pieces)
        call.pieces.clear()
        work = partial(answer, photo=call.photo, max_pixels=self._live.settings.max_pixels)
        try:
            call.job = self._live.engine.submit(work, call.deadline)
        except OverloadedError as error:
            self._fail(call, error)
        else:
            call.job.future.add_done_callback(partial(self._answer, call))

    def _answer(self, call: Call, future: asyncio.Future[Done[Answer]]) -> None:
        if future.cancelled():
            self._end(call, problems.CLIENT_GONE)
            return
        try:
            self._send(call, 200, _OK, _JSON, self._told(call, future.result()))
        # as the long way's outermost layer does: any error gets its document, a surprise its traceback
        except Exception as error:
            self._fail(call, error)

    def _told(self, call: Call, done: Done[Answer]) -> bytes:
        assert self._live is not None
        self._live.metrics.answered(done)
        self._live.recorder.record(done.value, call.photo, done.waited_s + done.worked_s)
        self._live.shadow.follow(done.value, call.photo)
        return json.dumps(done.value.as_dict()).encode()

    def _fail(self, call: Call, error: Exception) -> None:
        if isinstance(error, OverloadedError):
            status, told, body = _refusal(str(error), math.ceil(error.retry_after_s))
        else:
            status, told, body = _rendered(error)
        if status == 500:
            log.error("a prediction failed", exc_info=error)
        call.keep_alive &= b"connection: close" not in told
        self._send(call, status, STATUS_LINE[status], told, body)

    def _send(self, call: Call, status: int, line: bytes, headers: bytes, body: bytes) -> None:
        if not call.disconnected and not self.transport.is_closing():
            common = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
            closing = b"" if call.keep_alive or b"connection: close" in headers else _CLOSE
            length = b"content-length: %d\r\n\r\n" % len(body)
            self.transport.write(b"".join((line, common, headers, closing, length, body)))
        self._end(call, status)

    def _end(self, call: Call, status: int) -> None:
        assert self._live is not None
        call.response_complete = True
        # An idle connection keeps its call, which must not keep a photo or a model that was replaced.
        call.pieces, call.photo, call.job = [], b"", None
        self._live.metrics.in_flight -= 1
        self._live.metrics.count("/predict", "POST", status)
        if not call.keep_alive and not self.transport.is_closing():
            self.transport.close()
        self.on_response_complete()

    def _give_up_body(self, call: Call, limit_s: float) -> None:
        if not call.response_complete:
            self._fail(call, uploads.too_slow(limit_s))
        elif not self.transport.is_closing():
            self.transport.close()

    def _stop_timer_of(self, call: Call) -> None:
        if call.body_timer is not None:
            call.body_timer.cancel()


@lru_cache(maxsize=256)
def _refusal(message: str, retry_after_s: int) -> tuple[int, bytes, bytes]:
    """As `_rendered`: under too much load the same words are said hundreds of times a second."""
    return _rendered(OverloadedError(message, retry_after_s))


def _rendered(error: Exception) -> tuple[int, bytes, bytes]:
    """Status, own headers and body of the answer that tells of an error."""
    response = problems.response(error, {"path": "/predict"})
    headers = [header for header in response.raw_headers if header[0] != b"content-length"]
    told = b"".join(b"%s: %s\r\n" % header for header in headers)
    return response.status_code, told, bytes(response.body)


class _Nobody:
    def set(self) -> None:
        """Nobody waits for this."""


_NOBODY_WAITS: Final = _Nobody()
