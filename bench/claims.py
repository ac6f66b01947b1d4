"""What the numbers say of what was promised: a line a target, with what was found.

Knows the targets of the server. Knows nothing about how the numbers came about or how they are shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.contestants import OURS
from bench.parts import Against, Precisions, Start
from bench.peers import OUR_DECODER
from bench.race import Lap, Race, Standing
from bench.rubbish import Rubbish
from bench.steady import Growth, Overload, Swaps


@dataclass
class Results:
    """All that was measured, None where it was not asked for. variant: the race of what ours chooses."""

    race: Race | None = None
    variant: Race | None = None
    overload: Overload | None = None
    start: Start | None = None
    installed_mb: float | None = None
    growth: Growth | None = None
    swaps: Swaps | None = None
    large: Against | None = None
    tensors: Against | None = None
    precisions: list[Precisions] = field(default_factory=list)
    rubbish: Rubbish | None = None


@dataclass(frozen=True)
class Claim:
    """One target. is_met: None where it is only told."""

    number: str
    asked: str
    found: str
    is_met: bool | None


def claims(results: Results) -> list[Claim]:
    """Every target that was measured, in the order of their numbers."""
    made: list[Claim] = []
    if results.race:
        made += _against_bare(results.race)
        made += _against_peers(results.race)
    if results.variant:
        made += _variant(results.variant)
    if results.race:
        ours = results.race.standing(OURS)
        spread = _ratio(ours, 8, lambda lap: lap.p99_ms / lap.p50_ms)
        made.append(at_most("3", "p99 by p50 at 8 connections", spread, 1.6))
    made += _pressed(results)
    made += _single(results)
    return sorted(made, key=lambda claim: claim.number)


def at_most(number: str, asked: str, found: float, target: float, note: str = "") -> Claim:
    """A number that may not be larger."""
    return Claim(number, f"{asked}: at most {target:g}", f"{found:.3g}{note}", found <= target)


def at_least(number: str, asked: str, found: float, target: float, note: str = "") -> Claim:
    """A number that may not be smaller."""
    return Claim(number, f"{asked}: at least {target:g}", f"{found:.3g}{note}", found >= target)


def _against_bare(race: Race) -> list[Claim]:
    ours = race.standing(OURS)
    made = []
    for count in (8, 32):
        laps = ours.laps.get(count, [])
        costs = [lap.cpu_ms / bare.cpu_ms for lap, bare in zip(laps, race.bare)]
        made.append(
            at_most("1", f"CPU a request by the bare loop's, {count} connections", _middle(costs), 1.07)
        )
        kept = [lap.photos_s / (bare.photos_s * lap.share_left) for lap, bare in zip(laps, race.bare)]
        text = f"throughput by bare × the generator's leavings, {count} connections"
        made.append(at_least("1", text, _middle(kept), 0.95))
    waits = [lap.p50_ms / alone.p50_ms for lap, alone in zip(ours.laps.get(1, []), race.alone)]
    made.append(at_most("1", "p50 by the bare time of a photo, 1 connection", _middle(waits), 1.1))
    return made


def _against_peers(race: Race) -> list[Claim]:
    ours = race.standing(OURS)
    rivals = [standing for standing in race.standings if not standing.name.startswith(OURS) and standing.laps]
    peers = [standing for standing in rivals if not standing.name.endswith(OUR_DECODER)]
    made = []
    for count in sorted(ours.laps) if peers else ():
        best = _most_photos(peers, count)
        text = f"throughput by the best peer's, {count} connections"
        target = 1.0 if count == 1 else 1.15
        made.append(at_least("2", text, _paired(ours, best, count, _photos_s), target, f" ({best.name})"))
        for helped in rivals:
            if helped not in peers:
                text = f"throughput by that of a peer with our decoder, {count} connections"
                found = f"{_paired(ours, helped, count, _photos_s):.3g} ({helped.name})"
                made.append(Claim("2", text, found, None))
        calmest = min(peers, key=lambda peer: peer.median(count, lambda lap: lap.p99_ms))
        wait = _paired(ours, calmest, count, lambda lap: lap.p99_ms)
        text = f"p99 by the lowest peer's, {count} connections"
        made.append(at_most("2", text, wait, 1.0, f" ({calmest.name})"))
        made.append(_thrift(ours, peers, count, f"CPU a request, the thriftiest peer's by ours, {count}"))
    return made


def _variant(race: Race) -> list[Claim]:
    mine = [standing for standing in race.standings if standing.name.startswith(OURS) and standing.laps]
    peers = [standing for standing in race.standings if standing not in mine and standing.laps]
    made = []
    for ours in mine if peers else ():
        whose = f"{race.backbone}, {ours.name}, by the best peer's float32"
        for count in sorted(ours.laps):
            best = _most_photos(peers, count)
            gain = _paired(ours, best, count, _photos_s)
            made.append(at_least("2", f"{whose}, {count} connections", gain, 1.8, f" ({best.name})"))
            text = f"{race.backbone}, {ours.name}, CPU a request, the thriftiest peer's by ours, {count}"
            made.append(_thrift(ours, peers, count, text))
    return made


def _most_photos(peers: Sequence[Standing], count: int) -> Standing:
    return max(peers, key=lambda peer: peer.median(count, _photos_s))


def _thrift(ours: Standing, peers: Sequence[Standing], count: int, text: str) -> Claim:
    thrifty = min(peers, key=lambda peer: peer.median(count, lambda lap: lap.cpu_ms))
    cost = _paired(thrifty, ours, count, lambda lap: lap.cpu_ms)
    return Claim("2", f"{text} connections", f"{cost:.3g} ({thrifty.name})", None)


def _photos_s(lap: Lap) -> float:
    return lap.photos_s


def _pressed(results: Results) -> list[Claim]:
    made = []
    if flood := results.overload:
        made += [
            at_least("4", "answered in time at twice the capacity, by the capacity", flood.kept, 0.95),
            at_most("4", "time to a refusal, median, ms", flood.refused_p50_ms, 20),
            Claim("4", "neither answered in time nor refused", str(flood.others), flood.others == 0),
            at_most("4", "latency a second later, by before", flood.after_p50_ms / flood.quiet_p50_ms, 1.2),
        ]
    if swaps := results.swaps:
        made += [
            Claim("6", f"failed requests in {swaps.count} swaps", str(swaps.failed), swaps.failed == 0),
            at_most("6", "p99 while swapping, by its quiet value", swaps.p99_ms / swaps.quiet_p99_ms, 2.0),
            at_most("6", "memory after, by before", swaps.rss_after_mb / swaps.rss_mb, 1.1),
        ]
    if growth := results.growth:
        text = f"memory grown over {growth.requests:,} requests, %"
        made.append(at_most("5", text, 100 * growth.grown, 1.0))
    if rubbish := results.rubbish:
        found = ", ".join(f"{count} × {status}" for status, count in sorted(rubbish.statuses.items()))
        is_met = rubbish.failures == 0 and rubbish.lives
        made.append(Claim("bad input", f"5xx but 503 in {rubbish.count:,} mutated requests", found, is_met))
        grown = rubbish.rss_after_mb / rubbish.rss_mb
        made.append(at_most("bad input", "memory after, by before", grown, 1.1))
    return made


def _single(results: Results) -> list[Claim]:
    made = []
    if start := results.start:
        found = f" ({start.server_s:.2f} s, the script {start.least_s:.2f} s)"
        made.append(at_most("5", "from exec to the first 200, by a bare script's", start.ratio, 1.3, found))
    if results.installed_mb is not None:
        made.append(at_most("5", "installed, MB", results.installed_mb, 260))
    if results.race and results.race.standing(OURS).rss_mb:
        made.append(at_most("5", "resident under load, MB", _middle(results.race.standing(OURS).rss_mb), 170))
    if large := results.large:
        made.append(
            at_least(
                "7",
                "12 megapixels: throughput by plain decoding's",
                large.ratio,
                4.0,
                f" (CPU {large.cpu_ratio:.2f} times)",
            )
        )
    if tensors := results.tensors:
        text = "`/v2` binary tensors by bare inference × the generator's leavings"
        note = f" (CPU a request {tensors.cpu_ratio:.2f} times)"
        made.append(at_least("8", text, tensors.fair_ratio, 0.9, note))
    for both in results.precisions:
        found = f" ({both.float32_ms:.2f} → {both.int8_ms:.2f} ms)"
        made.append(at_least("9", f"int8 by float32, {both.backbone}", both.gain, 1.5, found))
    return made


def _middle(values: list[float]) -> float:
    return statistics.median(values) if values else float("nan")


def _ratio(standing: Standing, count: int, what: Callable[[Lap], float]) -> float:
    return standing.median(count, what)


def _paired(ours: Standing, other: Standing, count: int, what: Callable[[Lap], float]) -> float:
    pairs = zip(ours.laps.get(count, []), other.laps.get(count, []))
    return _middle([what(a) / what(b) for a, b in pairs])
