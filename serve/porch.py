"""Where threads sleep that have nothing to do: at a bell, and at the sockets they were told to watch.

Knows epoll, and what to do without one. Knows nothing about what comes by a socket.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Collection, Iterable
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_MOST_AT_ONCE: Final = 64
_RINGS_BYTES: Final = 8  # eventfd(2)
_SOMEBODY: Final = (0,)


class Porch(Generic[T]):
    """The bell alone, which every system has. Any thread may call anything, but for `close`."""

    watches: bool = False  # whether sockets can be expected

    def __init__(self) -> None:
        self._bell: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake one thread, or let the next one that would sleep go on."""
        self._bell.put(None)

    def sleep(self) -> list[T]:
        """Wait for a ring, or for somebody at a socket: whoever is expected there."""
        self._bell.get()
        return []

    def look(self, sleepers: Collection[int]) -> list[T]:  # noqa: ARG002  (nobody stands at a socket here)
        """Whoever stands at a socket by now. Nobody is found twice, unless expected again.

        sleepers: threads that sleep, or are about to; while there are none, rings are for nobody.
        """
        return []

    def expect(self, at: socket.socket, who: T) -> None:
        """Watch a socket until something can be read from it, or its other end is gone."""
        raise NotImplementedError

    def expected(self) -> list[T]:
        """Whoever is expected, and was not found yet."""
        return []

    def take_back(self, at: socket.socket) -> bool:
        """Watch it no longer; False where nobody is expected there, as a thread has found them."""
        raise NotImplementedError

    def forget(self, at: socket.socket) -> None:
        """A socket is about to be closed."""

    def close(self) -> None:
        """Once no thread sleeps here any more."""


class WatchingPorch(Porch[T]):
    """Bell and sockets, where the system has epoll. The thread that slept last is woken first."""

    watches = True

    def __init__(self) -> None:
        self._epoll = select.epoll()
        number = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._rings = os.fdopen(number, "r+b", buffering=0)  # each write is added, a read takes them all
        # Told once: else a thread that wakes wakes the next one, before it has read.
        self._epoll.register(number, select.EPOLLIN | select.EPOLLET)
        self._expected: dict[int, T] = {}  # by descriptor; single C calls, so no lock
        self._known: set[int] = set()

    def ring(self) -> None:
        """Wake one thread, or let the next one that would sleep go on."""
        self._ring(1)

    def sleep(self) -> list[T]:
        """Wait for a ring, or for somebody at a socket: whoever is expected there."""
        return self._found(None, _SOMEBODY)

    def look(self, sleepers: Collection[int]) -> list[T]:
        """Whoever stands at a socket by now. Nobody is found twice, unless expected again.

        sleepers: threads that sleep, or are about to; while there are none, rings are for nobody.
        """
        return self._found(0, sleepers) if self._expected else []

    def expect(self, at: socket.socket, who: T) -> None:
        """Watch a socket until something can be read from it, or its other end is gone.

        Raises OSError where the system watches no more.
        """
        number = at.fileno()
        self._expected[number] = who  # before, or the first to come would be nobody's
        try:
            if number in self._known:
                self._epoll.modify(number, _READABLE_ONCE)
            else:
                self._epoll.register(number, _READABLE_ONCE)
                self._known.add(number)
        except OSError:
            del self._expected[number]
            raise

    def expected(self) -> list[T]:
        """Whoever is expected, and was not found yet."""
        return list(self._expected.values())

    def take_back(self, at: socket.socket) -> bool:
        """Watch it no longer; False where nobody is expected there, as a thread has found them."""
        number = at.fileno()
        if self._expected.pop(number, None) is None:
            return False
        self._epoll.modify(number, select.EPOLLONESHOT)  # of 0 epoll would tell of an end again and again
        return True

    def forget(self, at: socket.socket) -> None:
        """A socket is about to be closed. The system would watch on while the connection has another one."""
        number = at.fileno()
        self._expected.pop(number, None)
        if number in self._known:
            self._known.discard(number)
            self._epoll.unregister(number)

    def close(self) -> None:
        """Once no thread sleeps here any more."""
        self._expected.clear()
        self._known.clear()  # whoever is forgotten later is not looked for
        self._epoll.close()
        self._rings.close()

    def _found(self, timeout_s: float | None, sleepers: Collection[int]) -> list[T]:
        found = []
        for number, _ in self._epoll.poll(timeout_s, _MOST_AT_ONCE):
            who = self._expected.pop(number, None)
            if who is not None:
                found.append(who)
            elif number == self._rings.fileno():
                self._heard(timeout_s is None, sleepers)
        return found

    def _heard(self, is_asleep: bool, sleepers: Collection[int]) -> None:
        """Take one ring, and leave the others to other threads.

        Where none sleeps they are taken, too, or each look would find them: whoever falls asleep later looks
        first for what they were rung for.
        """
        told = self._rings.read(_RINGS_BYTES)
        count = int.from_bytes(told or b"", sys.byteorder)  # nothing where another thread was first
        if count > is_asleep and sleepers:
            self._ring(count - is_asleep)

    def _ring(self, count: int) -> None:
        self._rings.write(count.to_bytes(_RINGS_BYTES, sys.byteorder))


def departures(numbers: Iterable[int]) -> select.poll:
    """Whose `poll(0)` gives the descriptors whose other end is gone, read or unread."""
    asked = select.poll()
    for number in numbers:
        if number >= 0:  # else closed by now
            asked.register(number, select.POLLRDHUP)
    return asked


def porch() -> Porch[T]:
    """The best that this system has."""
    return WatchingPorch() if hasattr(select, "epoll") and hasattr(os, "eventfd") else Porch()


_READABLE_ONCE: Final = (
    select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT if hasattr(select, "epoll") else 0
)
