"""What the event loop sees to all the time, in one round twenty times a second.

One round, since each wake of the loop costs more than what it then does, measured. Knows how often; knows
nothing about what is seen to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

EVERY_S: Final = 0.05


async def go_round(*visits: Callable[[], object]) -> None:
    """Make each visit, again and again, until cancelled. One that fails is told of, and made again."""
    while True:
        await asyncio.sleep(EVERY_S)
        for visit in visits:
            try:
                visit()
            # the others, and the next round, must come all the same
            except Exception:
                log.exception("the server could not see to something")
