"""The one thread that writes the journal, so that no request waits for a disk that it does not need.

Predictions come in batches. Where too many bytes wait, photos are let go and their predictions stay; where
too many predictions wait, more are lost, and counted. A label is acknowledged only when it is on disk. Knows
queues and the journal; knows nothing about HTTP.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pawloop.errors import JournalError, JournalOffError
from pawloop.image import photo_id
from pawloop.settings import Settings
from serve.answer import Answer
from serve.expiry import Expiry
from serve.kept import KeptPhotos
from serve.losses import Losses

if TYPE_CHECKING:  # SQLAlchemy costs 0.15 s to import; the thread does that once the server has answered
    from pawloop.journal import Journal
    from pawloop.journal_rows import Label, Part, Prediction

log = logging.getLogger(__name__)

_LIMIT: Final = 4096
_LIMIT_BYTES: Final = 32 << 20
_FIRST_LIMIT_BYTES: Final = 96 << 20  # while busy cores import: 40 MB were seen to wait, of 1.3 MB photos
_MANY_BYTES: Final = _LIMIT_BYTES // 4  # then the thread does not sleep on
_BATCH: Final = 512
_BATCH_S: Final = 0.25
_OPEN_AFTER_S: Final = 1.0  # where nobody asks
_HAS_ASKED_S: Final = 0.05
_FILES_TRIED: Final = 3


@dataclass(slots=True)
class _Answered:
    """photo: empty once it is let go. photo_id: of one that was let go before anybody saw to it."""

    answer: Answer
    photo: bytes
    photo_id: str | None
    at: float
    latency_s: float
    part: Part


@dataclass(frozen=True, slots=True)
class _Judged:
    prediction_id: str
    label: str | None
    at: float
    written: Future[None]


class Recorder:
    """Takes predictions and labels from the event loop and brings them to the journal."""

    def __init__(self, settings: Settings) -> None:
        """Start the thread. The journal is opened once the first answer is given, or soon after."""
        self.lost = 0
        self._losses = Losses()
        self._url = settings.journal_url
        self._kept = KeptPhotos(settings)
        self._expiry = Expiry(settings, self._kept)
        self._journal: Journal | None = None
        self._queue: deque[_Answered | _Judged] = deque()
        self._hurry = threading.Event()
        self._stopping = False
        self._pending_bytes = 0
        self._limit_bytes = _FIRST_LIMIT_BYTES
        self._in_hand = 0
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        if self.is_on:
            self._thread.start()

    @property
    def is_on(self) -> bool:
        """Whether there is a journal at all."""
        return self._url is not None

    def record(self, answer: Answer, photo: bytes, latency_s: float, part: Part = "champion") -> None:
        """Write an answer soon; where the disk is slow without its photo, or not at all, which is counted."""
        if not self.is_on:
            return
        with self._counting:
            if len(self._queue) >= _LIMIT:
                self.lost += 1
                self._losses.note("predictions are lost, since too many waited")
                return
            ahead = self._pending_bytes
            has_room = not ahead or ahead + len(photo) <= self._limit_bytes
            if has_room:
                self._pending_bytes = ahead + len(photo)
        known, content = (None, photo) if has_room else (self._let_go_at_once(photo), b"")
        self._queue.append(_Answered(answer, content, known, time.time(), latency_s, part))
        if ahead + len(photo) > _MANY_BYTES:
            self._hurry.set()

    def judge(self, prediction_id: str, label: str | None) -> Future[None]:
        """Write a person's correction, or by None that it is taken back.

        The future resolves once it is on disk, or with JournalError. Raises JournalOffError where there is
        no journal, JournalError where too much waits for its disk.
        """
        if not self.is_on:
            raise JournalOffError("the journal is switched off (PAWLOOP_JOURNAL=off), so nothing is noted")
        if len(self._queue) >= 2 * _LIMIT:
            raise JournalError("the journal cannot keep up with its disk; try again later")
        written: Future[None] = Future()
        written.set_running_or_notify_cancel()  # a client that leaves must not take its word with it
        self._queue.append(_Judged(prediction_id, label, time.time(), written))
        self._hurry.set()
        return written

    def stop(self, timeout_s: float = 12.0) -> None:
        """Write what is left, then end the thread. What a disk or a lock does not let be written is told."""
        if not self.is_on:
            return
        self._stopping = True
        self._hurry.set()
        self._thread.join(timeout_s)
        left = len(self._queue) + self._in_hand
        if self._thread.is_alive() and left:
            log.error("the journal is locked or too slow: %d answers and corrections are lost", left)

    def _let_go_at_once(self, photo: bytes) -> str:
        """A photo's id, which is all that stays of it; all wait for the hash, so it is done for few."""
        self._losses.note("photos are not kept, as too many waited; their answers are")
        return photo_id(photo)

    def _wait_for_the_first(self) -> None:
        """What opening the journal imports must keep neither the start nor the first answer waiting."""
        until = time.monotonic() + _OPEN_AFTER_S
        while not (self._hurry.wait(_HAS_ASKED_S) or self._queue or time.monotonic() > until):
            pass

    def _write(self) -> None:
        self._wait_for_the_first()
        self._commit([])
        while not self._stopping or self._queue:
            if len(self._queue) < _BATCH:
                # To be woken for every answer would cost more than to write it.
                self._hurry.wait(_BATCH_S)
            self._hurry.clear()
            if self._queue:
                entries = self._taken()
                self._in_hand = len(entries)
                self._commit(entries)
                self._in_hand, self._limit_bytes = 0, _LIMIT_BYTES
            if self._expiry.is_due and not self._stopping:
                self._expire()
            self._losses.tell()
        self._losses.tell(is_last=True)

    def _taken(self) -> list[_Answered | _Judged]:
        count = min(len(self._queue), _BATCH)
        return [self._queue.popleft() for _ in range(count)]

    def _commit(self, entries: list[_Answered | _Judged]) -> None:
        answered = [entry for entry in entries if isinstance(entry, _Answered)]
        judged = [entry for entry in entries if isinstance(entry, _Judged)]
        try:
            journal = self._added(
                [self._prediction(entry) for entry in answered], [_label(entry) for entry in judged]
            )
        # whatever happens to a disk or a database, the thread stays for what comes next
        except Exception as error:
            self._lose(answered, judged, error)
        else:
            for entry in judged:
                entry.written.set_result(None)
            self._kept.settle()
            self._make_room(journal)
        for each in answered:
            self._let_go(each)

    def _let_go(self, entry: _Answered) -> None:
        with self._counting:
            self._pending_bytes -= len(entry.photo)
        entry.photo = b""

    def _added(self, predictions: list[Prediction], labels: list[Label]) -> Journal:
        """The journal, once the file that stands in its place holds these."""
        for _ in range(_FILES_TRIED):
            journal = self._open()
            journal.add(predictions, labels)
            if journal.is_in_place():
                return journal
        raise JournalError("the journal's file is moved, replaced or deleted again and again")

    def _lose(self, answered: list[_Answered], judged: list[_Judged], error: Exception) -> None:
        is_known = isinstance(error, JournalError)
        if not answered and not judged:
            log.error("%s", error, exc_info=not is_known)
        self._losses.note("predictions could not be written", len(answered), error)
        self._losses.note("labels could not be written", len(judged), error)
        self._kept.take_back()
        with self._counting:
            self.lost += len(answered)
        for entry in judged:
            entry.written.set_exception(error if is_known else JournalError(str(error)))

    def _make_room(self, journal: Journal) -> None:
        try:
            self._kept.shrink(journal)
        except (OSError, JournalError):
            log.exception("no room could be made in %s", self._kept.folder)

    def _expire(self) -> None:
        try:
            self._expiry.go_on(self._open)
        # as with answers, the thread stays for what comes next
        except Exception:
            log.exception("old answers could not be deleted; tried again in a minute")

    def _open(self) -> Journal:
        if self._journal is not None and not self._journal.is_in_place():
            log.warning("the journal's file was moved, replaced or deleted; what stands there now is opened")
            self._journal.abandon()
            self._journal = None
        if self._journal is None:
            from pawloop.journal import Journal

            assert self._url is not None
            self._journal = Journal(self._url)
        return self._journal

    def _prediction(self, entry: _Answered) -> Prediction:
        from pawloop.journal_rows import Prediction

        answer, serving = entry.answer, entry.answer.serving
        photo = entry.photo_id or photo_id(entry.photo)
        is_kept = entry.photo_id is None and self._is_kept(photo, entry.photo)
        self._let_go(entry)  # now, not when all of them are written: more photos are coming
        return Prediction(
            id=answer.id,
            at=datetime.fromtimestamp(entry.at, UTC),
            photo_id=photo,
            part=entry.part,
            model=serving.version.card.name,
            version=serving.number,
            precision=serving.precision,
            label=answer.label,
            probabilities=dict(zip(serving.classes, answer.probabilities, strict=True)),
            reason=answer.reason,
            latency_ms=round(1000 * entry.latency_s, 3),
            is_kept=is_kept,
        )

    def _is_kept(self, photo_id: str, content: bytes) -> bool:
        try:
            return self._kept.keep(photo_id, content)
        except OSError as error:  # its answer is written all the same, and what came with it
            self._losses.note("photos could not be kept", 1, error)
            return False


def _label(entry: _Judged) -> Label:
    from pawloop.journal_rows import TAKEN_BACK, Label

    label = TAKEN_BACK if entry.label is None else entry.label
    return Label(entry.prediction_id, datetime.fromtimestamp(entry.at, UTC), label, "correction")
