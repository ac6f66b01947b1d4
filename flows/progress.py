"""Long work seen in the Prefect UI: a progress artifact that moves while a stage calls back.

Knows Prefect's artifacts. Knows nothing about the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

_EVERY_S = 1.0


class Progress:
    """A bar for each thing that a stage counts, updated at most once a second."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bars: dict[str, UUID] = {}
        self._last = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` of `what` are through."""
        now = time.monotonic()
        if what in self._bars and now - self._last < _EVERY_S and done < total:
            return
        self._last = now
        share = 100.0 * done / max(total, 1)
        if what in self._bars:
            update_progress_artifact(self._bars[what], progress=share)
        else:
            words = f"{self._title}: {what} ({total:,})"
            created = create_progress_artifact(progress=share, description=words)
            assert isinstance(created, UUID)  # the call is synchronous here
            self._bars[what] = created

    def of(self, what: str) -> Callable[[int, int], None]:
        """The bar of one thing, for a stage that counts only that."""
        return lambda done, total: self(what, done, total)
