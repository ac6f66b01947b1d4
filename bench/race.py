"""All servers side by side: the same photos, the same graph, the same cores, in turn, round after round.

What others do on the machine in the meantime hits a round, not a server: ratios are taken within a round, and
their median counts. Knows rounds and medians; knows nothing about what is concluded from them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import bare, contestants
from bench.bare import Bare
from bench.children import DidNotStartError
from bench.contestants import Contestant, Range
from bench.firing import LEAD_S, Outcome, fire
from bench.models import Model

_WARM_S: Final = 0.7


@dataclass(frozen=True)
class Lap:
    """One server's measurement at one number of connections in one round."""

    photos_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    share_left: float
    failed: int

    @classmethod
    def of(cls, outcome: Outcome, cores: int) -> Lap:
        """What counts of an outcome."""
        return cls(
            outcome.photos_s, outcome.percentile_ms(50), outcome.percentile_ms(99), outcome.cpu_ms,
            outcome.share_left(cores), outcome.failed,
        )  # fmt: skip


@dataclass
class Standing:
    """One server's laps by connections, a lap a round, its size and start; or why there are none."""

    name: str
    laps: dict[int, list[Lap]] = field(default_factory=dict)
    rss_mb: list[float] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    absent: str | None = None

    def median(self, connections: int, what: Callable[[Lap], float]) -> float:
        """Over the rounds; not a number where there were none."""
        laps = self.laps.get(connections)
        return statistics.median(map(what, laps)) if laps else float("nan")


@dataclass
class Race:
    """All of it. bare: the limit, a measurement a round beside who stands first; alone: one process of it."""

    backbone: str
    cores: int
    bare: list[Bare] = field(default_factory=list)
    alone: list[Bare] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)

    def standing(self, name: str) -> Standing:
        """Of the server of that name."""
        return next(standing for standing in self.standings if standing.name == name)


@dataclass(frozen=True)
class Laps:
    """How often, how long, and with how many connections each server is measured."""

    rounds: int
    seconds: float
    connections: Sequence[int]


def run(
    model: Model,
    who: Sequence[Contestant],
    ground: Range,
    photos: Path,
    laps: Laps,
    absent: dict[str, str],
    say: Callable[[str], None],
) -> Race:
    """Race. photos: their folder, for the bare limit. absent: why some are not there, by name.

    The limit is measured just before and just after the first of `who`: a virtual machine may be another
    one by the end of a round.
    """
    race = Race(model.backbone, ground.workers)
    race.standings = [Standing(one.name, absent=absent.get(one.name)) for one in who]
    for number in range(laps.rounds):
        say(f"round {number + 1}")
        # From the other end every second round, so that nobody always follows the same one.
        for one, standing in list(zip(who, race.standings))[:: 1 if number % 2 == 0 else -1]:
            if standing.absent is not None:
                continue
            with _limited(race, model, photos, laps, say) if one is who[0] else nullcontext():
                _lap(one, standing, model, ground, laps)
            say(f"  {one.name}: {_told(standing)}")
    return race


@contextmanager
def _limited(
    race: Race, model: Model, photos: Path, laps: Laps, say: Callable[[str], None]
) -> Iterator[None]:
    """Measure the limit before and after what is done within."""
    together: list[Bare] = []
    alone: list[Bare] = []

    def measure() -> None:
        for found, processes in ((together, race.cores), (alone, 1)):
            found.append(bare.limit(model.files["float32"], photos, laps.seconds, processes))

    measure()
    yield
    measure()
    race.bare.append(Bare.mean(together))
    race.alone.append(Bare.mean(alone))
    say(f"  bare: {race.bare[-1].photos_s:.0f}/s")


def _lap(one: Contestant, standing: Standing, model: Model, ground: Range, laps: Laps) -> None:
    try:
        with contestants.running(one, model, ground) as (child, requests):
            standing.start_s.append(child.start_s)
            for count in laps.connections:
                fire(child, requests, connections=count, seconds=_WARM_S)  # some adapt to what comes
                outcome = fire(child, requests, LEAD_S, connections=count, seconds=LEAD_S + laps.seconds)
                standing.laps.setdefault(count, []).append(Lap.of(outcome, ground.workers))
            standing.rss_mb.append(child.rss_mb())
    except DidNotStartError as error:
        standing.absent = f"did not start: {error}"


def _told(standing: Standing) -> str:
    if standing.absent:
        return standing.absent
    return ", ".join(f"{laps[-1].photos_s:.0f}/s at {count}" for count, laps in standing.laps.items())
