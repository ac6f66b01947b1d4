"""What the event loop sees to all the time."""

from __future__ import annotations

import asyncio

import pytest

from serve.rounds import go_round


def test_a_visit_that_fails_is_told_of_and_keeps_no_other_from_being_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []

    def fail() -> None:
        seen.append("failed")
        raise RuntimeError("nobody at home")

    async def run() -> None:
        rounds = asyncio.create_task(go_round(fail, lambda: seen.append("made")))
        while len(seen) < 4:
            await asyncio.sleep(0.01)
        rounds.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rounds

    asyncio.run(asyncio.wait_for(run(), 10))
    assert seen[:4] == ["failed", "made"] * 2
    assert "nobody at home" in caplog.text
