"""The answered photos whose bytes are kept: a share of them, up to a quota, the oldest going first.

Knows the folder `<store>/photos/journal`. Knows nothing about who asks or why.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pawloop.settings import Settings

if TYPE_CHECKING:  # SQLAlchemy is imported late, as serve.recorder tells
    from pawloop.journal import Journal


class KeptPhotos:
    """The folder of kept photos, each under its id, and how much of its quota is used."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.store / "photos" / "journal"
        self._share = settings.keep_photos
        self._quota_bytes = settings.keep_photos_mb * 10**6
        self._used_bytes: int | None = None

    def path(self, photo_id: str) -> Path:
        """Where a photo lies, if it is kept."""
        return self.folder / photo_id[:2] / photo_id

    def keep(self, photo_id: str, content: bytes) -> bool:
        """Keep a photo, if it is one of the share; whether it is kept.

        The id decides, so the same photo always has the same fate. Not forced to the disk: a photo that
        a power cut halves is found out by its id, which is the hash of its bytes.
        """
        if int(photo_id[:8], 16) >= self._share * 2**32 or len(content) > self._quota_bytes:
            return False
        path = self.path(photo_id)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{photo_id}.{os.getpid()}")
            draft.write_bytes(content)
            draft.replace(path)
            self._used_bytes = self._used() + len(content)
        return True

    def shrink(self, journal: Journal) -> None:
        """Delete the oldest photos that nobody labelled, until a tenth of the quota is free again."""
        if self._used() <= self._quota_bytes:
            return
        while self._used() > 0.9 * self._quota_bytes:
            gone = []
            for photo_id in journal.forgettable():
                if self._used() <= 0.9 * self._quota_bytes:
                    break
                gone.append(photo_id)
                path = self.path(photo_id)
                if path.exists():
                    self._used_bytes = self._used() - path.stat().st_size
                    path.unlink()
            if not gone:
                return  # all that is left is labelled, which is what the quota is for
            journal.forget(gone)

    def _used(self) -> int:
        if self._used_bytes is None:
            self._used_bytes = sum(path.stat().st_size for path in self.folder.glob("*/*"))
        return self._used_bytes
