"""uvicorn's server, with an end for connections whose client does not read its answer.

A transport that is closed waits until all that was written is sent, however long that takes; so an answer
that nobody reads would be kept for ever, and its connection with it. Knows uvicorn's server and its
connections; knows nothing about what they say.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Final

import uvicorn

from serve.lane import Lane

log = logging.getLogger(__name__)

UNREAD_S: Final = 30.0
_TICKS_PER_S: Final = 10  # uvicorn's
_LOOKS: Final = 6  # within that time


@dataclass(frozen=True, slots=True)
class _Stand:
    """How far a client has read. left: bytes that it has not. since: when it last read any of them."""

    left: int
    resumed: int
    since: float


class Server(uvicorn.Server):
    """Cuts connections whose client has read nothing of what is left to send for unread_s."""

    def __init__(self, config: uvicorn.Config, unread_s: float = UNREAD_S) -> None:
        super().__init__(config)
        self._unread_s = unread_s
        self._every = max(1, round(unread_s * _TICKS_PER_S / _LOOKS))
        self._stands: dict[Lane, _Stand] = {}

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn at each of its ticks; True to end."""
        if counter % self._every == 0:
            self._look(time.monotonic())
        return await super().on_tick(counter)

    def _look(self, now: float) -> None:
        before, self._stands = self._stands, {}
        for connection in list(self.server_state.connections):
            assert isinstance(connection, Lane)
            left = connection.transport.get_write_buffer_size()
            if not left:
                continue
            stand = before.get(connection)
            if stand is None or left < stand.left or connection.resumed != stand.resumed:
                self._stands[connection] = _Stand(left, connection.resumed, now)
            elif now - stand.since < self._unread_s:
                self._stands[connection] = replace(stand, left=left)
            else:
                log.info(
                    "%s read nothing for %.0f s: cut, %d bytes unread",
                    connection.client,
                    self._unread_s,
                    left,
                )
                connection.transport.abort()
