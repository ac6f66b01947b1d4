"""How many cores answer a photo that comes alone, and that it is told the same whichever do."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pawloop.errors import DamagedVersionError
from pawloop.settings import Settings
from serve import loading, spread
from serve.engine import Engine
from serve.loading import Runs, Serving, load
from serve.spread import Spread
from tests import published

PIXELS = np.zeros((1, published.SIZE, published.SIZE, 3), np.uint8)


class Stub:
    """A session whose runs take a time that may change."""

    outputs: tuple[str, ...] = ("probabilities",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.runs = 0

    def run(
        self, images: NDArray[np.uint8], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Sleep."""
        time.sleep(self.seconds)
        self.runs += 1
        return {}


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    return load(published.publish(tmp_path_factory.mktemp("store")), Settings(_env_file=None))


def with_session(serving: Serving, session: Runs) -> Serving:
    return Serving(**{**vars(serving), "session": session})


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = Stub(0.001)
    monkeypatch.setattr(spread, "widened", lambda serving, cores: stub)
    monkeypatch.setattr(spread, "_REOPEN_S", 0.0)
    monkeypatch.setattr(spread, "usable_cores", lambda: 2)
    return stub


def answer(model: Spread, times: int, *, is_alone: bool = True) -> None:
    for _ in range(times):
        model.choose(is_alone=is_alone).session.run(PIXELS)


def until(is_so: Callable[[], bool], what: str, act: Callable[[], object] = lambda: None) -> None:
    stop = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < stop, what
        act()
        time.sleep(0.001)


def runs_of(stub: Stub, during: Callable[[], None]) -> int:
    before = stub.runs
    during()
    return stub.runs - before


def test_photos_that_come_alone_are_answered_by_all_cores_while_that_is_quicker(
    proven: Serving, wide: Stub
) -> None:
    narrow = Stub(0.01)
    model = Spread(with_session(proven, narrow), 2)
    until(lambda: wide.runs > 0, "the second session was never taken", lambda: answer(model, 1))
    answer(model, 30)
    assert runs_of(wide, lambda: answer(model, 100)) >= 95
    wide.seconds = 0.05  # somebody else took the second core
    answer(model, 10)
    assert runs_of(wide, lambda: answer(model, 100)) <= 5
    wide.seconds = 0.0005  # and went again
    until(lambda: runs_of(wide, lambda: answer(model, 20)) >= 15, "one core is kept for ever")


def test_a_crowd_is_answered_by_one_core_each_and_the_second_session_goes(
    proven: Serving, wide: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Spread(with_session(proven, Stub(0.002)), 2)
    until(lambda: wide.runs > 0, "the second session was never taken", lambda: answer(model, 1))
    assert runs_of(wide, lambda: answer(model, 100, is_alone=False)) == 0
    wide_again = Stub(0.0)
    monkeypatch.setattr(spread, "widened", lambda serving, cores: wide_again)
    until(lambda: wide_again.runs > 0, "the second session stayed", lambda: answer(model, 1))


def test_one_core_has_nothing_to_spread_over(proven: Serving, wide: Stub) -> None:
    answer(Spread(with_session(proven, Stub(0.0)), 1), 200)
    assert wide.runs == 0


def test_a_session_that_cannot_be_opened_is_asked_for_once(
    proven: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(serving: Serving, cores: int) -> Runs:
        raise DamagedVersionError("no memory")

    monkeypatch.setattr(spread, "widened", fail)
    monkeypatch.setattr(spread, "_REOPEN_S", 0.0)
    monkeypatch.setattr(spread, "usable_cores", lambda: 2)
    model = Spread(with_session(proven, Stub(0.0)), 2)
    answer(model, 50)
    model.close(5)
    answer(model, 200)
    assert caplog.text.count("stay on one core: no memory") == 1


def test_where_no_thread_is_to_be_had_photos_are_answered_on_one_core(
    proven: Serving, wide: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise RuntimeError("can't start new thread")

    model = Spread(with_session(proven, Stub(0.0)), 2)
    with monkeypatch.context() as limited:
        limited.setattr("threading.Thread.start", refused)
        answer(model, 50)
        model.close(5)
    assert wide.runs == 0


def test_both_ways_give_the_same_answer(tmp_path: Path) -> None:
    serving = load(published.publish(tmp_path), Settings(_env_file=None))
    photo = np.random.default_rng(0).integers(0, 256, PIXELS.shape, np.uint8)
    one = serving.session.run(photo)["probabilities"]
    all_cores = loading.widened(serving, 2).run(photo)["probabilities"]
    np.testing.assert_allclose(all_cores, one, atol=1e-6)


def test_the_engine_knows_which_jobs_come_alone(proven: Serving, wide: Stub) -> None:
    engine = Engine(2, 8)
    engine.serve(with_session(proven, Stub(0.002)))

    async def ask(count: int) -> None:
        until = time.monotonic() + 20
        jobs = [engine.submit(lambda model: model.session.run(PIXELS), until).future for _ in range(count)]
        await asyncio.gather(*jobs)

    async def act() -> None:
        until = time.monotonic() + 20
        while wide.runs == 0:
            assert time.monotonic() < until, "all cores were never taken"
            await ask(1)
        gate = threading.Event()
        held = engine.submit(lambda _: gate.wait(10), until).future
        while engine.running == 0:
            await asyncio.sleep(0.001)
        before = wide.runs
        for _ in range(20):
            await ask(1)
        assert wide.runs == before, "beside another job one core is all there is"
        gate.set()
        await held

    try:
        asyncio.run(act())
    finally:
        engine.stop()
