"""What the log says of losses."""

from __future__ import annotations

import pytest

from pawloop.errors import JournalError
from serve import losses
from serve.losses import Losses


def test_losses_are_told_at_once_then_once_a_minute_and_at_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Losses()
    lost.tell()
    assert caplog.messages == []
    for count in (1, 2, 3):
        lost.note("predictions could not be written", count, JournalError(f"{count} GB are missing"))
        lost.note("labels could not be written", 0, JournalError("of which there were none"))
        lost.note("photos are gone")
        lost.tell()
    first = "the journal: 1 predictions could not be written (1 GB are missing); 1 photos are gone"
    assert caplog.messages == [first]
    monkeypatch.setattr(losses, "_TELL_EVERY_S", 0.0)
    lost.tell()
    monkeypatch.undo()
    lost.note("photos are gone")
    lost.tell()
    lost.tell(is_last=True)
    assert caplog.messages[1:] == [
        "the journal: 5 predictions could not be written (3 GB are missing); 2 photos are gone",
        "the journal: 1 photos are gone",
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_an_error_that_nobody_foresaw_comes_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    lost = Losses()
    lost.note("predictions could not be written", 1, RuntimeError("a surprise"))
    lost.tell()
    assert "RuntimeError: a surprise" in caplog.text
