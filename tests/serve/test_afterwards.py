"""What is done once an answer is sent."""

from __future__ import annotations

import asyncio
import threading

import pytest

from serve import afterwards
from serve.afterwards import Afterwards
from serve.rounds import go_round


def test_what_threads_leave_is_done_on_the_loop_though_one_of_it_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("a full disk")

    async def run() -> None:
        later = Afterwards()
        rounds = asyncio.create_task(go_round(later.do))
        for job in (lambda: done.append("first"), fail, lambda: done.append(threading.current_thread().name)):
            threading.Thread(target=later.leave, args=(job,)).start()
        for _ in range(200):
            if len(done) == 2:
                break
            await asyncio.sleep(0.01)
        rounds.cancel()

    asyncio.run(run())
    assert done == ["first", threading.current_thread().name]
    assert "a full disk" in caplog.text


def test_what_a_client_has_read_is_done_before_its_next_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(afterwards, "EVERY_S", 0.2)
    done: list[str] = []

    async def run() -> None:
        later = Afterwards()
        for _ in range(2):
            later.expect()
        later.leave(lambda: done.append("left before"))
        thread = threading.Timer(0.05, later.leave, args=(lambda: done.append("left just now"),))
        thread.start()
        await later.caught_up()
        thread.join()

    asyncio.run(run())
    assert done == ["left before", "left just now"]
