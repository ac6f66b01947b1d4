"""The way by which a thread sends on a connection that the event loop owns.

It has a descriptor of its own: the transport's may be closed under a thread's hands, and be another
connection's by the time of writing. Knows sockets; knows nothing about what is sent.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable


class Outlet:
    """One connection's. lock: held while something is sent, and until it is noted that it was."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._socket: socket.socket | None = None

    def open(self, transport: asyncio.Transport) -> bool:
        """From the loop: whether a thread may send now, as nothing else is on its way out."""
        if transport.get_write_buffer_size() or transport.get_extra_info("sslcontext"):
            return False
        if self._socket is None:
            try:
                self._socket = own_socket(transport)
            except OSError:  # no descriptor is left
                return False
        return True

    def close(self, forget: Callable[[socket.socket], None]) -> None:
        """From the loop: the connection is lost. Waits for a thread that is sending.

        forget: called before, with the descriptor that is to be closed.
        """
        with self.lock:
            if self._socket is not None:
                forget(self._socket)
                self._socket.close()
                self._socket = None

    @property
    def socket(self) -> socket.socket:
        """The descriptor, once it is open."""
        assert self._socket is not None
        return self._socket

    @property
    def is_open(self) -> bool:
        """Whether the connection is there; it stays so while the lock is held."""
        return self._socket is not None

    def send(self, content: bytes) -> bytes:
        """Send what there is room for, without waiting; what is left of it. Wants the lock."""
        assert self._socket is not None
        try:
            return content[self._socket.send(content) :]
        except OSError:  # there is no room, or nobody at the other end: the transport will find out
            return content


def own_socket(transport: asyncio.Transport) -> socket.socket:
    """Another socket on the same connection, which never waits. Raises OSError where none can be had."""
    own: socket.socket = transport.get_extra_info("socket").dup()
    own.setblocking(False)
    return own
