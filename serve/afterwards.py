"""What is done about an answer once it is sent: counted, journaled, its connection made ready for the next.

An inference thread sends answers by itself and leaves the rest to the event loop, which does it for several
at a time (`serve.rounds`): to be woken for each would cost as much as all else that the loop does for it,
measured. Knows nothing about what is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from serve.rounds import EVERY_S

log = logging.getLogger(__name__)


class Afterwards:
    """Small jobs that threads leave to the event loop."""

    def __init__(self) -> None:
        self._left: deque[Callable[[], None]] = deque()
        self._expected = 0

    def expect(self) -> None:
        """From the loop: jobs may come, until as many `forget` as were expected."""
        self._expected += 1

    def leave(self, job: Callable[[], None]) -> None:
        """From a thread: a job."""
        self._left.append(job)  # a single C call, so no lock

    def forget(self) -> None:
        """From the loop: what was expected came, or is not to come."""
        self._expected -= 1

    def do(self) -> None:
        """From the loop: all that was left so far."""
        while self._left:
            job = self._left.popleft()
            try:
                job()
            # the others' turn comes all the same
            except Exception:
                log.exception("an answer was sent, but not noted")

    async def caught_up(self) -> None:
        """From the loop: once what any client has read so far is done."""
        self.do()
        if self._expected:
            await asyncio.sleep(EVERY_S)  # a thread may have sent an answer and not yet left its job
            self.do()
