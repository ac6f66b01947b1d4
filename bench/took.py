"""What a stretch of work took: by the clock, and of the processor with children that have ended.

Knows clocks. Knows nothing about the work.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Took:
    """Seconds by the clock and of the processor."""

    wall_s: float
    cpu_s: float

    def __add__(self, other: Took) -> Took:
        return Took(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


class Clock:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.monotonic(), _cpu_s()

    def took(self) -> Took:
        """Since then."""
        return Took(time.monotonic() - self._wall_s, _cpu_s() - self._cpu_s)


def _cpu_s() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
