"""The bench's numbers as a page and two pictures.

Knows Markdown and plots. Knows nothing about how anything was measured.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure
from PIL import Image

from bench.claims import Results, claims
from bench.contestants import OURS
from bench.race import Lap, Race, Standing
from bench.steady import QUEUE
from pawloop import durable

_COLOURS: Final = 32


def write(out: Path, results: Results, machine: Sequence[str], command: str, remarks: Sequence[str]) -> None:
    """`server.md` and its pictures in a folder. remarks: what a reader must know of this run."""
    out.mkdir(parents=True, exist_ok=True)
    if results.race:
        durable.write_bytes(out / "throughput.png", picture(results.race, "photos a second", _photos_s))
        durable.write_bytes(
            out / "latency.png", picture(results.race, "p99, ms (logarithmic)", _p99_ms, True)
        )
    durable.write_bytes(out / "server.md", page(results, machine, command, remarks).encode())


def page(results: Results, machine: Sequence[str], command: str, remarks: Sequence[str]) -> str:
    """The page, in Markdown."""
    lines = ["# The server, measured", "", f"`{command}`", ""]
    lines += [f"- {line}" for line in [*machine, *remarks]]
    lines += ["", "What they mean, and why some are missed: [server-notes.md](server-notes.md)."]
    if results.race:
        lines += ["", *_side_by_side(results.race), ""]
        lines += [
            "![Photos a second by connections](throughput.png)",
            "",
            "![p99 by connections](latency.png)",
        ]
    if results.variant:
        lines += ["", *_side_by_side(results.variant)]
    lines += ["", "## Targets", "", "| number | asked | found | |", "|---|---|---|---|"]
    marks = {True: "met", False: "**missed**", None: ""}
    lines += [f"| {c.number} | {c.asked} | {c.found} | {marks[c.is_met]} |" for c in claims(results)]
    if flood := results.overload:
        lines += [
            "",
            f"With a queue of {QUEUE}, offered {flood.offered_s:.0f} requests a second at a capacity of "
            f"{flood.capacity_s:.0f}: {flood.answered_s:.0f} a second answered in time (p99 "
            f"{flood.answered_p99_ms:.0f} ms), {flood.refused_s:.0f} a second refused "
            f"(median {flood.refused_p50_ms:.1f} ms, p99 {flood.refused_p99_ms:.1f} ms); the generator took "
            f"{100 * (1 - flood.share):.0f} % of the cores.",
        ]
    if swaps := results.swaps:
        lines += [
            "",
            f"{swaps.count} swaps: p99 {swaps.quiet_p99_ms:.0f} ms quiet, {swaps.p99_ms:.0f} ms meanwhile.",
        ]
    return "\n".join(lines) + "\n"


def picture(race: Race, label: str, what: Callable[[Lap], float], is_log: bool = False) -> bytes:
    """A line a server over the connections, as PNG."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    shown = [standing for standing in race.standings if standing.laps]
    counts = sorted({count for standing in shown for count in standing.laps})
    places = range(len(counts))
    for number, standing in enumerate(shown):
        is_ours = standing.name.startswith(OURS)
        values = [standing.median(count, what) for count in counts]
        axis.plot(
            places, values, label=standing.name, marker="o",
            color="black" if standing.name == OURS else f"C{number % 10}",
            linewidth=3 if standing.name == OURS else 1.3, linestyle="--" if is_ours else "-",
        )  # fmt: skip
    if not is_log and race.bare:
        limit = sorted(bare.photos_s for bare in race.bare)[len(race.bare) // 2]
        axis.axhline(limit, color="grey", linewidth=1, linestyle=":")
        axis.annotate("bare loops, no HTTP", (0, limit), fontsize=8, va="bottom")
    axis.set_yscale("log" if is_log else "linear")
    axis.set_xticks(places, [str(count) for count in counts])
    axis.set_xlabel("connections")
    axis.set_ylabel(label)
    axis.set_title(f"{race.backbone}, {race.cores} cores", fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    small = io.BytesIO()
    Image.open(stream).convert("RGB").quantize(_COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()


def _side_by_side(race: Race) -> list[str]:
    counts = sorted({count for standing in race.standings for count in standing.laps})
    heads = [f"photos/s at {count}" for count in counts] + [f"p99 ms at {count}" for count in counts]
    columns = ["server", *heads, "CPU ms a request", "RSS MB", "start s"]
    lines = [f"## {race.backbone}, {race.cores} cores, medians of {len(race.bare)} rounds", ""]
    lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    bare = sorted(one.photos_s for one in race.bare)[len(race.bare) // 2]
    cpu_ms = sorted(one.cpu_ms for one in race.bare)[len(race.bare) // 2]
    blank = [""] * (2 * len(counts) - 1)
    cells = ["bare loops, one a core, no HTTP", f"{bare:.0f}", *blank, f"{cpu_ms:.2f}", "", ""]
    lines.append("| " + " | ".join(cells) + " |")
    lines += [_row(standing, counts) for standing in race.standings]
    shares = [
        lap.share_left for standing in race.standings for laps in standing.laps.values() for lap in laps
    ]
    if shares:
        lines += [
            "",
            f"Of the cores, the generator took {100 * (1 - max(shares)):.1f} to "
            f"{100 * (1 - min(shares)):.1f} %.",
        ]
    failed = [
        f"{standing.name} {sum(lap.failed for laps in standing.laps.values() for lap in laps)}"
        for standing in race.standings
        if any(lap.failed for laps in standing.laps.values() for lap in laps)
    ]
    if failed:
        lines += ["", f"Requests that failed: {', '.join(failed)}."]
    return lines


def _row(standing: Standing, counts: Sequence[int]) -> str:
    if standing.absent or not standing.laps:
        blank = [""] * (2 * len(counts) + 2)
        return "| " + " | ".join([standing.name, f"not measured: {standing.absent}", *blank]) + " |"
    cells = [f"{standing.median(count, _photos_s):.0f}" for count in counts]
    cells += [f"{standing.median(count, _p99_ms):.0f}" for count in counts]
    cpu = [standing.median(count, lambda lap: lap.cpu_ms) for count in counts if count > 1]
    low, high = min(cpu, default=math.nan), max(cpu, default=math.nan)
    cells.append(f"{low:.2f}" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.2f} to {high:.2f}")
    cells.append(f"{sorted(standing.rss_mb)[len(standing.rss_mb) // 2]:.0f}")
    cells.append(f"{sorted(standing.start_s)[len(standing.start_s) // 2]:.2f}")
    name = f"**{standing.name}**" if standing.name.startswith(OURS) else standing.name
    return "| " + " | ".join([name, *cells]) + " |"


def _photos_s(lap: Lap) -> float:
    return lap.photos_s


def _p99_ms(lap: Lap) -> float:
    return lap.p99_ms
