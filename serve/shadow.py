"""The challenger in the champion's shadow: it answers the same photos, to the journal alone.

Takes only threads that have nothing to do. Nobody is given its answers; paired with the champion's under
one id, they are the evidence on which it may be promoted. Knows engine and journal; knows nothing about
HTTP or how models are judged.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from functools import partial
from typing import Final

from pawloop.errors import OverloadedError
from serve.answer import Answer, answering
from serve.engine import Engine
from serve.jobs import Awaited, Done
from serve.loading import Serving
from serve.recorder import Recorder

log = logging.getLogger(__name__)

_WORTHLESS_AFTER_S: Final = 5.0


class Shadow:
    """answered, disagreed: photos that the challenger answered, and of those with another label."""

    def __init__(self, engine: Engine, recorder: Recorder, max_pixels: int) -> None:
        self.answered = 0
        self.disagreed = 0
        self._challenger: Serving | None = None
        self._engine = engine
        self._recorder = recorder
        self._max_pixels = max_pixels

    def cast(self, challenger: Serving | None) -> None:
        """Let a model be the challenger, or none."""
        self._challenger = challenger

    @property
    def number(self) -> int | None:
        """The challenger's version, or None."""
        challenger = self._challenger
        return None if challenger is None else challenger.number

    def follow(self, given: Answer, photo: bytes) -> None:
        """From the event loop, after the champion answered: let the challenger, if a thread is idle."""
        challenger = self._challenger
        if challenger is None or not self._recorder.is_on or not self._engine.is_idle:
            return
        work = partial(answering, challenger, photo, self._max_pixels)
        try:
            job: Awaited[Answer] = self._engine.submit(
                lambda _: work(), time.monotonic() + _WORTHLESS_AFTER_S
            )
        except OverloadedError:  # somebody else came since
            return
        job.future.add_done_callback(partial(self._note, given, photo))

    def _note(self, given: Answer, photo: bytes, future: asyncio.Future[Done[Answer]]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is not None:
            log.warning("the challenger could not answer a photo that the champion could: %s", error)
            return
        done = future.result()
        self.answered += 1
        self.disagreed += done.value.label != given.label
        paired = dataclasses.replace(done.value, id=given.id)
        self._recorder.record(paired, photo, done.worked_s, "challenger")
