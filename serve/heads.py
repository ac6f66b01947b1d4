"""Heads of requests where uvicorn falls short: it limits none, and loses the body behind an offered upgrade.

Counts bytes while a head is incomplete, so a request that comes in one piece pays for one comparison. What
stands behind the chunks of a body, where no limit of bodies counts it, has the same limit, and its fields are
no headers (RFC 9110, section 6.5.1). Knows uvicorn's protocol class; knows nothing about routes.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import chain
from typing import Any, Final

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LIMIT_BYTES: Final = 32 << 10
TIME_S: Final = 15.0

_OFFERS: Final = (b"upgrade", b"http2-settings")
_REFUSAL: Final = b"the head of the request is larger than 32 KiB"
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_REFUSAL), _REFUSAL)
)


class LimitedHeads(HttpToolsProtocol):
    """uvicorn's protocol: 431 past LIMIT_BYTES of head, closed when one is not whole after TIME_S.

    An offer to speak another protocol, as Java's client and curl make one of HTTP/2, is passed over (RFC
    9110, section 7.8) and the request answered.
    """

    def __init__(self, *given: Any, **named: Any) -> None:  # Any: uvicorn's own
        super().__init__(*given, **named)
        self._head_bytes = 0  # of a head that has begun and is not whole
        self._unread_bytes = 0  # since the last piece of a body that is not whole: sizes of chunks, trailers
        self._began_behind = False  # the end of another request in the same read, so not all of it is counted
        self._has_ended = False  # a request in this read
        self._is_refused = False  # a head; whatever is read behind it means nothing
        self._is_in_head = True
        self._is_in_body = False
        self._timer: asyncio.TimerHandle | None = None
        self._offered_at: int | None = None  # where in this read the head with an offer ends

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as theirs
        """A client came: the first head is awaited."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(TIME_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """A client left."""
        self._stop_timer()
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:  # uvicorn's, after a reset: it would keep all this alive
            self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Bytes came: of a head, of a body, or of both."""
        self._has_ended = False
        was_idle = self.timeout_keep_alive_task is not None  # any byte ends that wait
        self._head_bytes += len(data)
        self._unread_bytes += len(data)
        super().data_received(data)
        while self._offered_at is not None:
            data = self._without_offer() + data[self._offered_at :]
            self._offered_at = None
            super().data_received(data)
        # An empty line, which begins no request (RFC 9112, section 2.2), is no way to stay for ever.
        self._is_in_head |= was_idle and not (self._is_in_body or self._has_ended)
        self._began_behind = self._is_in_head and (self._began_behind or self._has_ended)
        if self._has_ended or not self._is_in_head:
            self._head_bytes = 0
        if self._unread_bytes > LIMIT_BYTES and not (self._has_ended or self._is_in_head):
            self._refuse()
        if not self._is_in_head:
            if self._timer is not None:
                self._stop_timer()
        elif self._head_bytes > LIMIT_BYTES:
            self._refuse()
        elif self._timer is None:
            self._timer = self.loop.call_later(TIME_S, self._give_up)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._is_in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a head, or one behind a body, which nobody reads."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._is_in_head, self._is_in_body = False, True
        self._unread_bytes = 0
        if self._is_refused or self.parser.should_upgrade():
            return
        # A body that came with its head was counted, too.
        may_be_large = self._head_bytes > LIMIT_BYTES or self._began_behind
        if may_be_large and _size(self.headers, self.url) > LIMIT_BYTES:
            self._refuse()
        else:
            self.begin()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._unread_bytes = 0
        if not self._is_refused:
            self.piece(body)

    def on_message_complete(self) -> None:
        """A body is whole."""
        if self.parser.should_upgrade():
            return
        self._has_ended, self._is_in_body = True, False
        if not self._is_refused:
            self.end()

    def begin(self) -> None:
        """A head is whole and not too large: answer the request."""
        super().on_headers_complete()

    def piece(self, body: bytes) -> None:
        """Some of a body is here."""
        super().on_body(body)

    def end(self) -> None:
        """A request is whole."""
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """Nothing else is spoken here, whatever uvicorn finds installed."""
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Called by uvicorn where its parser stops at an offer; what stopped it says where."""
        if self.parser.get_method() == b"CONNECT":  # no offer: what follows is no HTTP, for any parser
            self.send_400_response("this server is no proxy: CONNECT is not understood")
            return
        stopped = sys.exception()
        assert stopped is not None
        self._offered_at = stopped.args[0]

    def _without_offer(self) -> bytes:
        """The head as if nothing were offered, for a parser that knows of no offer."""
        first = b"%b %b HTTP/%b" % (
            self.parser.get_method(), self.url, self.parser.get_http_version().encode()
        )  # fmt: skip
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        lines = [first]
        for name, value in self.headers:
            if name == b"connection":
                told = [word for word in value.split(b",") if word.strip().lower() not in _OFFERS]
                value = b",".join(told)
            if name not in _OFFERS and value:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def _refuse(self) -> None:
        self._is_refused = True
        if not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def _give_up(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _size(headers: list[tuple[bytes, bytes]], url: bytes) -> int:
    return len(url) + sum(map(len, chain.from_iterable(headers)))
