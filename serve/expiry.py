"""The end of old answers: those that nobody labelled, and their photos, go after a number of days.

A little at a time, on the journal's thread, which has answers to write. Knows the journal and the kept
photos; knows nothing about answers that come.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from pawloop.settings import Settings
from serve.kept import KeptPhotos

if TYPE_CHECKING:  # SQLAlchemy is imported late, as serve.recorder tells
    from pawloop.journal import Journal

_EVERY_S: Final = 60.0


class Expiry:
    """What a journal is to forget, by `PAWLOOP_KEEP_ANSWERS_DAYS`."""

    def __init__(self, settings: Settings, kept: KeptPhotos) -> None:
        self._days = settings.keep_answers_days
        self._kept = kept
        self._since: datetime | None = None  # all that is older has been looked at
        self._due_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether there may be something to delete."""
        return self._days > 0 and time.monotonic() >= self._due_at

    def go_on(self, opened: Callable[[], Journal]) -> None:
        """Delete some of what is too old. Raises OSError and JournalError with the rest left for later."""
        self._due_at = time.monotonic() + _EVERY_S
        until = datetime.now(UTC) - timedelta(days=self._days)
        journal = opened()
        old = journal.outdated(self._since, until)
        # Photos first: an answer without its photo is found again, a photo without its answer never.
        self._kept.delete(old.photo_ids)
        journal.delete(old.ids)
        self._since = old.last or until
        if old.last is not None:
            self._due_at = time.monotonic()
