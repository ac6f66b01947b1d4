"""Threads that answer: one bounded queue, in front of it a door that says no at once.

Knows threads, deadlines and which model is in service. Knows nothing about HTTP, photos or what a job
does: a job is a function of the model in service, run on one thread. Decoding and inference let go of the
GIL, so as many threads as cores come near the bare limit of the machine. Where many wait, a thread takes
several and does each step for all of them: a run of the model leaves nothing of the code around it in the
caches, so what comes twice in a row costs little the second time (decision 3).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from socket import socket
from types import GeneratorType
from typing import Final, TypeVar

from pawloop.errors import NoModelError, OverloadedError
from serve.jobs import Awaited, Caller, Done, Job, Steps
from serve.loading import Serving
from serve.porch import Porch, departures, porch
from serve.spread import Spread

T = TypeVar("T")
log = logging.getLogger(__name__)

NO_MODEL: Final = "no model yet, run a retrain"
_MEMORY: Final = 0.05  # weight of the newest job in the moving average of their cost
_FIRST_GUESS_S: Final = 0.01  # of a job's cost, before any was measured
_QUIET_S: Final = 0.5  # without a job, after which its socket is expected no longer
_MOST_TOGETHER: Final = 4  # jobs; six gave no more, measured
_SHORT_S: Final = 0.03  # a job, past which nobody is made to wait for others' steps
_CLOSE_S: Final = 10.0  # at most, for what a model that goes was about to open
_SETTLED: Final = object()


class Engine:
    """A pool of threads around the model in service."""

    def __init__(self, threads: int, queue: int) -> None:
        """threads: jobs that run at once. queue: jobs that may wait for one of them."""
        self.thread_count = threads
        self.queue_length = queue
        self.job_s = _FIRST_GUESS_S
        self._spread: Spread | None = None
        self.lack = NO_MODEL  # why there is no model, while there is none
        self._waiting: deque[Job[object]] = deque()
        # Where idle threads sleep. All of this is single C calls, so no lock is held in Python.
        self._porch: Porch[Caller[object]] = porch()
        self._idle: set[int] = set()
        self._called: set[Caller[object]] = set()
        self._is_stopping = False
        self._running: set[int] = set()
        self._threads = [
            threading.Thread(target=self._work, args=(n,), name=f"inference-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def serving(self) -> Serving:
        """The model in service. Raises NoModelError while there is none."""
        return self._model().serving

    def serve(self, serving: Serving | None) -> None:
        """Put a model in service, or none. Jobs that run keep the one they started with."""
        before, self.lack = self._spread, NO_MODEL
        self._spread = None if serving is None else Spread(serving, self.thread_count)
        if before is not None:
            before.close(_CLOSE_S)

    @property
    def has_model(self) -> bool:
        """Whether there is a model in service."""
        return self._spread is not None

    @property
    def waiting(self) -> int:
        """Jobs that wait for a thread."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Threads that are at work."""
        return len(self._running)

    @property
    def called(self) -> int:
        """Jobs that came by a socket, and wait or are worked on."""
        return len(self._called)

    @property
    def watches(self) -> bool:
        """Whether jobs may come by a socket on this system."""
        return self._porch.watches

    @property
    def is_idle(self) -> bool:
        """Whether a thread has nothing to do."""
        return len(self._running) + len(self._waiting) < self.thread_count

    def admit(self, deadline: float) -> None:
        """Raise OverloadedError when a job that came now would find no place, or no thread in time.

        deadline: on the clock of `time.monotonic`.
        """
        ahead = len(self._waiting)
        if ahead == 0:
            return
        wait_s = (ahead + 1) * self.job_s / self.thread_count
        if ahead >= self.queue_length:
            raise OverloadedError(f"the queue is full ({ahead}); try again in {wait_s:.1f} s", wait_s)
        if time.monotonic() + wait_s + self._together(ahead) * self.job_s > deadline:
            raise OverloadedError(
                f"the queue ({ahead}) leaves no time to answer before the deadline; "
                f"try again in {wait_s:.1f} s, or allow more time",
                wait_s,
            )

    def submit(self, work: Callable[[Serving], T | Steps[T]], deadline: float) -> Awaited[T]:
        """Queue `work` from the event loop; `job.future` resolves on that loop.

        Raises as `admit` does. The future raises what `work` raises, OverloadedError when its deadline
        passed in the queue, NoModelError when there is no model.
        """
        job = Awaited(work, deadline, asyncio.get_running_loop())
        self.put(job)
        return job

    def put(self, job: Job[T]) -> None:
        """Queue a job, which learns by `settle` what came of it, as in `submit`. Raises as `admit` does."""
        self.admit(job.deadline)
        job.queued_at = time.monotonic()
        self._waiting.append(job)  # type: ignore[arg-type]  # a Job[T] among the Job[object]
        self._wake_one()

    def expect(self, caller: Caller[T]) -> None:
        """Queue a job, as `put`, once something can be read from its socket."""
        caller.quiet_since = time.monotonic()
        self._porch.expect(caller.at, caller)  # type: ignore[arg-type]  # as in put

    def send_home(self) -> None:
        """Expect those no longer from whom nothing came for long."""
        until = time.monotonic() - _QUIET_S
        for caller in self._porch.expected():
            if caller.quiet_since <= until and self.take_back(caller):
                caller.dropped()

    def take_back(self, caller: Caller[T]) -> bool:
        """Expect a job no longer; False when it has come already."""
        return self._porch.take_back(caller.at)

    def forget(self, at: socket) -> None:
        """A socket is about to be closed."""
        self._porch.forget(at)

    def look(self) -> None:
        """Queue what came by sockets while all threads were at work for long."""
        self._queue(self._porch.look(self._idle))

    def is_waiting(self, job: Job[T]) -> bool:
        """Whether no thread has taken the job yet."""
        return job in self._waiting

    def drop(self, job: Job[T]) -> bool:
        """Take a job out of the queue, as nobody wants its answer; False when a thread has it already."""
        try:
            self._waiting.remove(job)  # type: ignore[arg-type]  # as in submit
        except ValueError:
            return False
        self._called.discard(job)
        job.dropped()
        return True

    def drop_left(self) -> None:
        """Drop jobs whose clients left, where the event loop does not see it."""
        jobs = {job.at.fileno(): job for job in list(self._waiting) if job.at is not None}
        for number, _ in departures(jobs).poll(0) if jobs else ():
            self.drop(jobs[number])

    def expire(self) -> None:
        """Tell jobs that their deadline passed while all threads had others."""
        now = time.monotonic()
        for job in list(self._waiting):
            if now > job.deadline:
                try:
                    self._waiting.remove(job)
                except ValueError:  # a thread has taken it meanwhile
                    continue
                self._settle(job, self._too_late())

    def stop(self, timeout_s: float = 10.0) -> None:
        """Finish what is queued, then end the threads."""
        self._is_stopping = True
        for _ in self._threads:
            self._porch.ring()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if self._spread is not None:
            self._spread.close(max(0.0, until - time.monotonic()))
        if not any(thread.is_alive() for thread in self._threads):
            self._porch.close()

    def _model(self) -> Spread:
        spread = self._spread
        if spread is None:
            raise NoModelError(self.lack)
        return spread

    def _wake_one(self) -> None:
        if self._idle:  # else, whoever is at work looks for the next job by itself
            self._porch.ring()

    def _queue(self, callers: list[Caller[object]], taken: int = 0) -> None:
        """taken: how many jobs the thread that found them is about to take by itself."""
        if not callers:
            return
        now = time.monotonic()
        for caller in callers:
            caller.queued_at, caller.deadline = now, now + caller.wait_s
            self._called.add(caller)
            try:
                self.admit(caller.deadline)
            except OverloadedError:
                self._called.discard(caller)
                caller.dropped()
            else:
                self._waiting.append(caller)
        for _ in range(min(len(callers), len(self._waiting) - taken)):
            self._wake_one()

    def _work(self, number: int) -> None:
        while True:
            self._queue(self._porch.look(self._idle), taken=1)
            job = self._next()
            if job is None:
                if self._is_stopping:
                    return
                self._sleep(number)
                continue
            self._running.add(number)
            self._run(job)
            self._running.discard(number)
            del job  # or an idle thread would keep its last photo and model alive

    def _sleep(self, number: int) -> None:
        self._idle.add(number)
        # It may have come when this thread had looked already and was not idle yet.
        came = [] if self._waiting or self._is_stopping else self._porch.sleep()
        self._idle.discard(number)
        self._queue(came, taken=1)

    def _settle(self, job: Job[object], outcome: Done[object] | BaseException) -> None:
        self._called.discard(job)  # before it is expected again
        try:
            job.settle(outcome)
        # whoever works on the others must go on
        except Exception:
            log.exception("an answer could not be given")

    def _too_late(self) -> OverloadedError:
        return OverloadedError("the deadline passed while the photo waited", self.job_s)

    def _together(self, waiting: int) -> int:
        """How many jobs a thread takes at once while so many wait.

        One more for every two a thread, so that an answer comes later by about half, at most, of what its
        photo has waited already.
        """
        more = waiting // (2 * self.thread_count)
        return min(1 + more, _MOST_TOGETHER) if self.job_s < _SHORT_S else 1

    def _next(self) -> Job[object] | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _run(self, job: Job[object] | None) -> None:
        left, until = self._together(len(self._waiting) + 1), time.monotonic() + _SHORT_S
        is_alone = len(self._running) == 1 and not self._waiting
        underway = []
        while job is not None:
            steps = self._steps(job, is_alone=is_alone)
            if next(steps, _SETTLED) is not _SETTLED:
                underway.append(steps)
            left -= 1
            # The next one is not taken before its turn, so that it can be dropped or expire.
            job = self._next() if left and time.monotonic() < until else None
        while underway:
            underway = [steps for steps in underway if next(steps, _SETTLED) is not _SETTLED]

    def _steps(self, job: Job[object], *, is_alone: bool) -> Steps[None]:
        """Work on a job until it is settled, with a pause after each of its steps."""
        try:
            if time.monotonic() > job.deadline:
                raise self._too_late()
            value, worked_s = yield from _timed(job.work, self._model().choose(is_alone=is_alone))
        # the thread must survive any job; whoever waits for it gets the error
        except BaseException as error:
            outcome: Done[object] | BaseException = error
        else:
            self.job_s += _MEMORY * (worked_s - self.job_s)
            waited_s = max(0.0, time.monotonic() - job.queued_at - worked_s)
            outcome = Done(value, waited_s, worked_s)
        self._settle(job, outcome)
        del job, outcome  # an error holds this frame by its traceback, and the job holds the error


def _timed(work: Callable[[Serving], object], serving: Serving) -> Steps[tuple[object, float]]:
    """What `work` returns, and the seconds that its own steps took."""
    took_s, began = 0.0, time.monotonic()
    value = work(serving)
    while isinstance(value, GeneratorType):
        try:
            next(value)
        except StopIteration as end:
            value = end.value
        else:
            took_s += time.monotonic() - began
            yield
            began = time.monotonic()
    return value, took_s + time.monotonic() - began
