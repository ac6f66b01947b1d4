"""The answered photos whose bytes are kept: a share of them, up to a quota, the oldest going first.

Knows the folder `<store>/photos/journal`. Knows nothing about who asks or why.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pawloop.settings import Settings

if TYPE_CHECKING:  # SQLAlchemy is imported late, as serve.recorder tells
    from pawloop.journal import Journal

log = logging.getLogger(__name__)

_OLD_S: Final = 600.0
_OLD_WHEN_FULL_S: Final = 30.0


class KeptPhotos:
    """The folder of kept photos, each under its id, and how much of its quota is used."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.store / "photos" / "journal"
        self._share = settings.keep_photos
        self._quota_bytes = settings.keep_photos_mb * 10**6
        self._used_bytes = 0
        self._measured_at = -math.inf
        self._unsettled: list[Path] = []
        self._has_told = False
        self._is_shrinking = False

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
            self._measure(_OLD_S)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, content)
            self._used_bytes += len(content)
            self._unsettled.append(path)
        return True

    def settle(self) -> None:
        """The journal knows of all that was kept so far."""
        self._unsettled.clear()

    def take_back(self) -> None:
        """Delete what was kept since, as the journal will not know of it."""
        for path in self._unsettled:
            with suppress(OSError):
                self._delete(path)
        self._unsettled.clear()

    def shrink(self, journal: Journal) -> None:
        """Delete some of the oldest photos that nobody labelled, where the quota is used up.

        Later calls delete more, until a tenth of the quota is free: whoever calls has answers to write.
        """
        if not (self._share and self._quota_bytes):
            return  # who keeps none deletes none: another server of this store may keep some
        self._measure(_OLD_WHEN_FULL_S if self._used_bytes > self._quota_bytes else _OLD_S)
        is_full = self._used_bytes > self._quota_bytes
        self._is_shrinking = is_full or (self._is_shrinking and not self._has_room)
        if self._has_room:
            self._has_told = False
        if not self._is_shrinking:
            return
        gone = self._deleted(journal.forgettable())
        if gone:
            journal.forget(gone)
            return
        self._is_shrinking = False
        if is_full:
            self._tell_once()

    def delete(self, photo_ids: Sequence[str]) -> None:
        """Delete these photos, as far as they are here."""
        for photo_id in photo_ids:
            path = self.path(photo_id)
            if path.exists():
                self._delete(path)

    @property
    def _has_room(self) -> bool:
        return self._used_bytes <= 0.9 * self._quota_bytes

    def _deleted(self, photo_ids: Sequence[str]) -> list[str]:
        """Those of these photos that had to go."""
        gone: list[str] = []
        for photo_id in photo_ids:
            if self._has_room:
                break
            gone.append(photo_id)
            self.delete([photo_id])
        return gone

    def _tell_once(self) -> None:
        """All that is left is labelled, or another journal's: both are for people to give up."""
        if not self._has_told:
            self._has_told = True
            log.warning(
                "%s: labelled photos, and such as this journal does not know, fill the quota, so no others "
                "are kept; raise PAWLOOP_KEEP_PHOTOS_MB, or delete what no journal needs",
                self.folder,
            )

    def _delete(self, path: Path) -> None:
        size = path.stat().st_size
        path.unlink()
        self._used_bytes -= size

    def _measure(self, old_s: float) -> None:
        """Look again at the folder after so long: people and other servers write and delete there, too."""
        now = time.monotonic()
        if now - self._measured_at > old_s:
            self._used_bytes = sum(_size(path) for path in self.folder.glob("*/*"))
            self._measured_at = now


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # somebody deleted it meanwhile
        return 0


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
