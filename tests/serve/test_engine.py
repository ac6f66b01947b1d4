from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pawloop.errors import NoModelError, OverloadedError, PhotoError
from pawloop.settings import Settings
from serve.engine import Engine
from serve.jobs import Done, Steps
from serve.loading import Serving, load
from tests import published


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    return load(published.publish(tmp_path_factory.mktemp("store")), Settings(_env_file=None))


def with_engine(
    serving: Serving | None, act: Callable[[Engine], Awaitable[None]], threads: int = 1, queue: int = 4
) -> None:
    engine = Engine(threads, queue)
    engine.serve(serving)
    try:
        asyncio.run(asyncio.wait_for(act(engine), 10))
    finally:
        engine.stop()


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def test_a_job_is_answered_by_the_model_in_service(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        done = await engine.submit(lambda model: model.number, soon()).future
        assert done.value == serving.number
        assert done.waited_s >= 0
        assert done.worked_s >= 0

    with_engine(serving, act)


def test_without_a_model_a_job_says_so(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        with pytest.raises(NoModelError, match="run a retrain"):
            await engine.submit(lambda model: model.number, soon()).future

    with_engine(None, act)


def test_a_failing_job_fails_alone(serving: Serving) -> None:
    def fail(_: Serving) -> None:
        raise PhotoError("damaged")

    async def act(engine: Engine) -> None:
        with pytest.raises(PhotoError):
            await engine.submit(fail, soon()).future
        assert (await engine.submit(lambda _: "well", soon()).future).value == "well"

    with_engine(serving, act)


def test_past_the_length_of_the_queue_a_job_is_refused_at_once(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        gate = threading.Event()
        first = engine.submit(lambda _: gate.wait(5), soon(60))
        while engine.running == 0:
            await asyncio.sleep(0.001)
        waiting = [engine.submit(lambda _: True, soon(60)) for _ in range(2)]
        started = time.monotonic()
        with pytest.raises(OverloadedError) as refused:
            engine.submit(lambda _: True, soon(60))
        assert time.monotonic() - started < 0.02
        assert refused.value.retry_after_s > 0
        gate.set()
        await asyncio.gather(first.future, *(job.future for job in waiting))

    with_engine(serving, act, queue=2)


def test_a_job_that_cannot_be_done_in_time_is_refused_before_it_waits(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        engine.job_s = 1.0
        gate = threading.Event()
        first = engine.submit(lambda _: gate.wait(5), soon(60))
        while engine.running == 0:
            await asyncio.sleep(0.001)
        second = engine.submit(lambda _: True, soon(60))
        with pytest.raises(OverloadedError, match="deadline"):
            engine.submit(lambda _: True, soon(1.5))
        gate.set()
        await asyncio.gather(first.future, second.future)

    with_engine(serving, act)


def test_a_job_whose_deadline_passed_in_the_queue_costs_no_thread(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        ran = []
        first = engine.submit(lambda _: time.sleep(0.1), soon())
        late = engine.submit(lambda _: ran.append(True), soon(0.05))
        with pytest.raises(OverloadedError):
            await late.future
        await first.future
        assert not ran

    with_engine(serving, act)


def test_a_job_whose_deadline_passes_is_told_before_a_thread_is_free(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        first = engine.submit(lambda _: time.sleep(0.3), soon())
        late, patient = (engine.submit(lambda _: True, soon(seconds)) for seconds in (0.05, 5))
        await asyncio.sleep(0.1)
        engine.expire()
        with pytest.raises(OverloadedError, match="deadline passed"):
            await late.future
        assert not first.future.done()
        assert (await patient.future).value

    with_engine(serving, act)


def test_a_dropped_job_frees_its_place_and_never_runs(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        ran = []
        gate = threading.Event()
        first = engine.submit(lambda _: gate.wait(5), soon())
        while engine.running == 0:
            await asyncio.sleep(0.001)
        gone = engine.submit(lambda _: ran.append("gone"), soon())
        assert engine.drop(gone)
        assert engine.waiting == 0
        stays = engine.submit(lambda _: ran.append("stays"), soon())
        gate.set()
        await asyncio.gather(first.future, stays.future)
        assert ran == ["stays"]
        assert not engine.drop(stays)

    with_engine(serving, act, queue=1)


def test_a_job_that_runs_keeps_its_model_while_another_is_put_in_service(
    serving: Serving, tmp_path: Path
) -> None:
    other = load(published.publish(tmp_path, tilt=1.0), Settings(_env_file=None))

    def slow(model: Serving) -> Serving:
        time.sleep(0.05)
        return model

    async def act(engine: Engine) -> None:
        job = engine.submit(slow, soon())
        while engine.running == 0:
            await asyncio.sleep(0.001)
        engine.serve(other)
        assert (await job.future).value is serving
        assert (await engine.submit(slow, soon()).future).value is other

    with_engine(serving, act)


def test_stopping_answers_what_is_queued_and_ends_the_threads(serving: Serving) -> None:
    engine = Engine(2, 64)
    engine.serve(serving)

    async def act() -> None:
        jobs = [engine.submit(lambda _: time.sleep(0.002), soon()) for _ in range(20)]
        await asyncio.to_thread(engine.stop)
        await asyncio.gather(*(job.future for job in jobs))

    asyncio.run(act())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("inference")]


def test_jobs_that_come_one_by_one_stay_on_one_thread(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        names: Counter[str] = Counter()
        for _ in range(20):
            done = await engine.submit(lambda _: threading.current_thread().name, soon()).future
            names[done.value] += 1
            await asyncio.sleep(0.01)  # by then that thread is idle again, on all but a busy machine
        assert names.most_common(1)[0][1] >= 15

    with_engine(serving, act, threads=4)


def test_no_job_is_overlooked_while_threads_fall_asleep(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        for burst in range(1_000):
            jobs = [engine.submit(lambda _: None, soon()).future for _ in range(1 + burst % 5)]
            await asyncio.wait_for(asyncio.gather(*jobs), 2)

    with_engine(serving, act, threads=3, queue=5)


Numbered = Callable[[int], Callable[[Serving], Any]]


async def held(engine: Engine, count: int, job: Numbered) -> list[Any]:
    """What comes of `count` jobs that all wait before the only thread is free."""
    gate = threading.Event()
    first = engine.submit(lambda _: gate.wait(5), soon())
    while engine.running == 0:
        await asyncio.sleep(0.001)
    jobs = [engine.submit(job(number), soon()).future for number in range(count)]
    gate.set()
    await first.future
    return await asyncio.gather(*jobs, return_exceptions=True)


def noting(noted: list[tuple[int, int]], fails: int | None = None) -> Numbered:
    """Jobs of two steps that note their number and the step; one fails before its second."""

    def job(number: int) -> Callable[[Serving], Steps[int]]:
        def work(_: Serving) -> Steps[int]:
            noted.append((number, 1))
            yield
            if number == fails:
                raise PhotoError("damaged")
            noted.append((number, 2))
            return number

        return work

    return job


@pytest.mark.parametrize(("waiting", "together"), [(1, [1]), (2, [2]), (4, [3, 1]), (9, [4, 3, 2])], ids=str)
def test_a_thread_takes_each_step_for_several_of_the_jobs_that_wait(
    serving: Serving, waiting: int, together: list[int]
) -> None:
    async def act(engine: Engine) -> None:
        noted: list[tuple[int, int]] = []
        done = await held(engine, waiting, noting(noted))
        assert [one.value for one in done] == list(range(waiting))
        expected, left = [], iter(range(waiting))
        for count in together:
            numbers = [next(left) for _ in range(count)]
            expected += [(number, step) for step in (1, 2) for number in numbers]
        assert noted == expected

    with_engine(serving, act, queue=16)


def test_of_jobs_that_are_done_together_one_fails_alone(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        noted: list[tuple[int, int]] = []
        done = await held(engine, 9, noting(noted, fails=1))
        assert isinstance(done[1], PhotoError)
        assert [one.value for one in done if isinstance(one, Done)] == [0, *range(2, 9)]
        assert (1, 2) not in noted

    with_engine(serving, act, queue=16)


def test_jobs_that_take_long_are_done_one_by_one(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        engine.job_s = 1.0
        noted: list[tuple[int, int]] = []
        await held(engine, 3, noting(noted))
        assert noted == [(number, step) for number in range(3) for step in (1, 2)]

    with_engine(serving, act, queue=16)


def test_nobody_is_begun_beside_one_that_turns_out_to_take_long(serving: Serving) -> None:
    async def act(engine: Engine) -> None:
        noted: list[tuple[int, int]] = []

        def slow(_: Serving) -> Steps[None]:
            time.sleep(0.1)
            yield
            noted.append((0, 2))

        await held(engine, 3, lambda number: noting(noted)(number) if number else slow)
        assert noted[0] == (0, 2)

    with_engine(serving, act, queue=16)


def test_the_steps_of_others_count_as_waiting(serving: Serving) -> None:
    def job(number: int) -> Callable[[Serving], Steps[None]]:
        def work(_: Serving) -> Steps[None]:
            yield
            time.sleep(0.2 if number == 0 else 0.0)

        return work

    async def act(engine: Engine) -> None:
        slow, quick = await held(engine, 2, job)
        assert slow.worked_s >= 0.2
        assert quick.worked_s < slow.worked_s
        assert quick.waited_s >= 0.2

    with_engine(serving, act)
