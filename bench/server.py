"""The server's bench: ours, the bare limit and the peers side by side, then ours under pressure.

A table of contents. Knows the order; knows nothing about how anything is measured.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench import contestants, machine, models, own, parts, peers, pictures, race, report, rubbish, steady
from bench.claims import Results
from bench.contestants import Contestant, Range
from bench.models import Model
from bench.race import Laps, Race
from pawloop import settings
from pawloop.card import Precision
from pawloop.sections import Backbone

PARTS: Final = (
    "race",
    "variant",
    "overload",
    "start",
    "swaps",
    "large",
    "tensors",
    "int8",
    "growth",
    "rubbish",
)


@dataclass(frozen=True)
class Pace:
    """How long the bench takes. seconds: of each measurement."""

    rounds: int = 5
    seconds: float = 4.0
    overload_s: float = 60.0
    swaps: int = 50
    requests: int = 200_000
    mutants: int = 5_000

    def shortened(self, share: float) -> Pace:
        """The same measurements, and a part of the full long trials."""
        full = Pace()
        return replace(
            self,
            overload_s=share * full.overload_s,
            swaps=round(share * full.swaps),
            requests=round(share * full.requests),
            mutants=round(share * full.mutants),
        )


QUICK: Final = Pace(rounds=2, seconds=1.0, overload_s=8.0, swaps=8, requests=3_000, mutants=500)


def run(
    out: Path,
    quick: bool,
    only: Sequence[str] = (),
    pace: Pace | None = None,
    say: Callable[[str], None] = print,
) -> Results:
    """Measure, and write the page and its pictures into a folder. only: some of PARTS, else all."""
    pace = pace or (QUICK if quick else Pace())
    wanted = only or PARTS
    began, described = time.monotonic(), machine.described()
    with TemporaryDirectory(prefix="pawloop-bench-") as place:
        results = _Bench(Path(place), pace, say).measure(wanted)
    minutes = (time.monotonic() - began) / 60
    remarks = [
        f"{pace.rounds} rounds in turn of {pace.seconds:g} s, medians; {minutes:.0f} minutes altogether; "
        f"load average at the end {machine.load():.1f}",
        "photos 500 × 375, about 46 kB, "
        + ("real ones" if pictures.are_real(settings.load().test_data) else "drawn")
        + "; our journal is off but where it is named",
    ]
    command = " ".join(["python -m bench server", *sys.argv[2:]])
    report.write(out, results, described, command, remarks)
    return results


@dataclass
class _Bench:
    """What all parts share while they measure."""

    folder: Path
    pace: Pace
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.test_data = settings.load().test_data
        photos = pictures.photos(self.test_data)
        self.plain = self.folder / "photos"
        self.plain.mkdir()
        for number, photo in enumerate(photos):
            (self.plain / f"{number:04}.jpg").write_bytes(photo)
        self.ground = Range(photos, settings.usable_cores(), self.folder)
        self.model = self.made("mobilenet_v3_large", ("float32",))

    def made(self, backbone: Backbone, precisions: Sequence[Precision]) -> Model:
        """A model in a folder of its own."""
        folder = self.folder / backbone
        folder.mkdir()
        return models.make(folder, backbone, self.ground.photos, self.test_data, precisions)

    def measure(self, wanted: Sequence[str]) -> Results:
        """All that is wanted."""
        pace, ground, model, results = self.pace, self.ground, self.model, Results()
        absent = _install(self.say) if {"race", "variant"} & set(wanted) else {}
        if "race" in wanted:
            self.say("race")
            results.race = self.raced(model, contestants.everybody(), absent)
        if "variant" in wanted or "int8" in wanted:
            self._int8(wanted, results, absent)
        if "start" in wanted:
            results.start = parts.start(model, ground, self.plain / "0000.jpg", 2 * pace.rounds)
            results.installed_mb = own.installed_mb()
        if "large" in wanted:
            results.large = parts.large_photos(model, ground, self.test_data, pace.rounds, pace.seconds)
        if "tensors" in wanted:
            results.tensors = parts.tensors(model, ground, self.plain, pace.rounds, pace.seconds)
        if "overload" in wanted:
            self.say("overload")
            results.overload = steady.overload(model, ground, pace.overload_s)
        if "swaps" in wanted:
            self.say("swaps")
            results.swaps = steady.swaps(model, ground, pace.swaps)
        if "rubbish" in wanted:
            self.say("rubbish")
            results.rubbish = rubbish.thrown(model, ground, pace.mutants)
        if "growth" in wanted:
            self.say("growth")
            results.growth = steady.growth(model, ground, pace.requests, self.say)
        return results

    def raced(
        self,
        model: Model,
        who: Sequence[Contestant],
        absent: dict[str, str],
        connections: Sequence[int] = (1, 8, 32),
    ) -> Race:
        """A race at this bench's pace."""
        laps = Laps(self.pace.rounds, self.pace.seconds, connections)
        return race.run(model, who, self.ground, self.plain, laps, absent, self.say)

    def _int8(self, wanted: Sequence[str], results: Results, absent: dict[str, str]) -> None:
        model = self.made("mobilenet_v2", ("float32", "int8"))
        if "variant" in wanted:
            self.say("variant")
            who = [*contestants.what_ours_takes(), *_best_peers(results.race)]
            results.variant = self.raced(model, who, absent | _own(self.say), (8, 32))
        if "int8" in wanted:
            self.say("int8")
            for one in (model, self.made("efficientnet_lite0", ("float32", "int8"))):
                told = parts.precisions(one, self.plain, self.pace.rounds, self.pace.seconds)
                results.precisions.append(told)


def _best_peers(seen: Race | None) -> list[Contestant]:
    """The three with the most photos a second at 8 connections; all, where there was no race."""
    peers = [one for one in contestants.everybody() if one.peer and not one.peer.has_our_decoder]
    if seen is None:
        return peers

    def photos_s(one: Contestant) -> float:
        standing = seen.standing(one.name)
        return standing.median(8, lambda lap: lap.photos_s) if standing.laps else 0.0

    return sorted(peers, key=photos_s, reverse=True)[:3]


def _install(say: Callable[[str], None]) -> dict[str, str]:
    """Install the peers; why some could not be, by name."""
    absent: dict[str, str] = {}
    for environment in dict.fromkeys(peer.environment for peer in peers.PEERS):
        try:
            peers.install(environment)
        except peers.NotInstalledError as error:
            say(f"{environment}: {error}")
            absent |= {p.name: f"not installed: {error}" for p in peers.PEERS if p.environment == environment}
    return absent


def _own(say: Callable[[str], None]) -> dict[str, str]:
    """Make the environment of our server with OpenVINO; why it could not be, by the contestant's name."""
    try:
        own.environment(contestants.WITH_OPENVINO, own.OPENVINO)
    except peers.NotInstalledError as error:
        say(f"{contestants.WITH_OPENVINO}: {error}")
        return {contestants.what_ours_takes()[1].name: f"not installed: {error}"}
    return {}
