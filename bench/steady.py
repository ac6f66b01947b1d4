"""What our server does when it is pressed: too much load, models that change, time, rubbish.

Knows our server and its registry. Knows nothing about peers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Final

import numpy as np

from bench import contestants, models
from bench.children import Child
from bench.contestants import Contestant, Range, ours
from bench.firing import Gun, Outcome, fire
from bench.models import Model
from pawloop.registry import Registry

_SWAP_EVERY_S: Final = 1.0
_LOOK_EVERY_S: Final = 1.0
_DEADLINE_MS: Final = 1000
QUEUE: Final = 16  # the default of 64 answers as many, each later


@dataclass(frozen=True)
class Overload:
    """Twice the capacity for a while. The shares are of the cores, left by the generator."""

    offered_s: float
    capacity_s: float
    capacity_share: float
    answered_s: float
    answered_p99_ms: float
    share: float
    refused_s: float
    refused_p50_ms: float
    refused_p99_ms: float
    others: int
    quiet_p50_ms: float
    after_p50_ms: float

    @property
    def kept(self) -> float:
        """Answers within the deadline, by what the cores that the generator left could have given."""
        return (self.answered_s / self.share) / (self.capacity_s / self.capacity_share)


def overload(model: Model, ground: Range, seconds: float) -> Overload:
    """Requests at twice the measured capacity, each with a deadline, whatever the server does."""
    who = Contestant("Pawloop, overloaded", variables=ours(QUEUE=str(QUEUE)))
    with contestants.running(who, model, ground) as (child, plain):
        fire(child, plain, connections=8, seconds=1)
        quiet = fire(child, plain, connections=1, seconds=2)
        capacity = fire(child, plain, connections=8, seconds=max(3.0, seconds / 6))
        hurried, _ = ground.requests("raw", "/predict", f"x-request-timeout-ms: {_DEADLINE_MS}\r\n")
        rate = 2 * capacity.photos_s
        during = fire(child, hurried, rate=rate, seconds=seconds)
        after = fire(child, plain, connections=1, seconds=2)
    good = (during.answers[:, 2] == 200) & (during.answers[:, 1] <= _DEADLINE_MS)
    refused = during.answers[:, 2] == 503
    return Overload(
        offered_s=rate,
        capacity_s=capacity.photos_s,
        capacity_share=capacity.share_left(ground.workers),
        answered_s=float(good.sum() / seconds),
        answered_p99_ms=during.percentile_ms(99),
        share=during.share_left(ground.workers),
        refused_s=float(refused.sum() / seconds),
        refused_p50_ms=during.percentile_ms(50, 503),
        refused_p99_ms=during.percentile_ms(99, 503),
        others=int((~good & ~refused).sum()) + during.unsent,
        quiet_p50_ms=quiet.percentile_ms(50),
        after_p50_ms=_later(after, 1.0),
    )


@dataclass(frozen=True)
class Swaps:
    """The champion changed again and again under load."""

    count: int
    failed: int
    quiet_p99_ms: float
    p99_ms: float
    rss_mb: float
    rss_after_mb: float


def swaps(model: Model, ground: Range, count: int) -> Swaps:
    """Two versions of the same files take turns as champion under 8 connections."""
    registry = Registry(model.store, models.NAME)
    first = registry.aliases().champion
    assert first is not None
    second = models.again(model)
    who = Contestant("Pawloop, swapping", variables=ours())
    with contestants.running(who, model, ground) as (child, requests):
        fire(child, requests, connections=8, seconds=1)
        before = fire(child, requests, connections=8, seconds=max(4.0, count / 8))
        rss_mb = child.rss_mb()
        gun = Gun(child, requests, connections=8, seconds=count * _SWAP_EVERY_S + 1)
        for number in range(count):
            time.sleep(_SWAP_EVERY_S)
            now, then = (second, first) if number % 2 == 0 else (first, second)
            registry.promote(now, "the bench swaps", expected=then)
        during = gun.outcome()
        after = fire(child, requests, connections=8, seconds=2)
        rss_after_mb = child.rss_mb()
    if registry.aliases().champion != first:
        registry.promote(first, "the bench is done", expected=second)
    return Swaps(
        count,
        during.failed + after.failed,
        before.percentile_ms(99),
        during.percentile_ms(99),
        rss_mb,
        rss_after_mb,
    )


@dataclass(frozen=True)
class Growth:
    """Memory over many requests. rss_mb: during each tenth of them, the median of a look a second."""

    requests: int
    failed: int
    rss_mb: list[float]

    @property
    def grown(self) -> float:
        """Part that the last third has more than the first."""
        third = max(1, len(self.rss_mb) // 3)
        first = statistics.mean(self.rss_mb[:third])
        return statistics.mean(self.rss_mb[-third:]) / first - 1


def growth(model: Model, ground: Range, requests: int, say: Callable[[str], None]) -> Growth:
    """So many requests on 8 connections, with the journal on; a tenth more before to warm up."""
    who = Contestant("Pawloop, for long", variables=ours(JOURNAL="", PRECISION="auto"))
    sizes, failed = [], 0
    with contestants.running(who, model, ground) as (child, folder):
        fire(child, folder, connections=8, seconds=600, count=requests // 10)
        for tenth in range(10):
            with _looked_at(child) as seen:
                outcome = fire(child, folder, connections=8, seconds=600, count=requests // 10)
            failed += outcome.failed
            sizes.append(statistics.median(seen))
            say(f"  {(tenth + 1) * requests // 10} requests: {sizes[-1]:.1f} MB")
    return Growth(requests, failed, sizes)


@contextmanager
def _looked_at(child: Child) -> Iterator[list[float]]:
    """Its memory in MB, a look a second: one alone tells what a batch of the journal has at that moment."""
    seen, has_ended = [child.rss_mb()], Event()

    def look() -> None:
        while not has_ended.wait(_LOOK_EVERY_S):
            seen.append(child.rss_mb())

    looking = Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        has_ended.set()
        looking.join()


def _later(outcome: Outcome, seconds: float) -> float:
    """Median of the answers that came after some seconds."""
    late = outcome.answers[outcome.answers[:, 0] >= seconds, 1]
    return float(np.median(late)) if len(late) else float("nan")
