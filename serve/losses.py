"""What the journal lost, told in the log at most once a minute, however much it is.

Knows counts and words. Knows nothing about why anything is lost.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Final

from pawloop.errors import PawloopError

log = logging.getLogger(__name__)

_TELL_EVERY_S: Final = 60.0


class Losses:
    """Noted by any thread, told by the one that writes: nobody else waits for who reads the log."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._errors: dict[str, Exception] = {}
        self._told_at = -math.inf
        self._counting = threading.Lock()

    def note(self, what: str, count: int = 1, error: Exception | None = None) -> None:
        """Count what is lost. what: as the line names it. error: why; of several the last is told."""
        if not count:
            return
        with self._counting:
            self._counts[what] = self._counts.get(what, 0) + count
            if error is not None:
                self._errors[what] = error

    def tell(self, *, is_last: bool = False) -> None:
        """Tell what was lost since, where the line before is a minute old or this is the last one.

        An error that nobody foresaw comes with its traceback.
        """
        if not self._counts or not (is_last or time.monotonic() - self._told_at > _TELL_EVERY_S):
            return
        with self._counting:
            counts, self._counts = self._counts, {}
            errors, self._errors = self._errors, {}
        self._told_at = time.monotonic()
        told = [f"{count:,} {what}{_because(errors.get(what))}" for what, count in counts.items()]
        foreseen = (PawloopError, OSError)
        surprise = next((error for error in errors.values() if not isinstance(error, foreseen)), None)
        log.error("the journal: %s", "; ".join(told), exc_info=surprise)


def _because(error: Exception | None) -> str:
    return "" if error is None else f" ({error})"
