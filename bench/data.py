"""`python -m bench data`: curating 100,000 photos, against a bare loop that only decodes and hashes.

Both take the same drawn photos in turn, in processes of their own, and are compared by CPU time and by the
clock: ratios, since other work on the machine slows both. Writes docs/benchmarks/data.md.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from bench import album, machine
from tasks.near import pairs

_ROOT: Final = Path(__file__).resolve().parents[1]
COUNT: Final = 100_000
QUICK_COUNT: Final = 5_000
_EVERY_S: Final = 0.2
_HASHES: Final = 100_000
_RADIUS: Final = 6

_START: Final = """
import json, os, time
def cpu():
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
def told(count):
    print(json.dumps({"wall_s": time.monotonic() - started, "cpu_s": cpu() - spent, "count": count}))
"""
_BARE: Final = (
    _START
    + """
import hashlib, io, sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
import numpy as np
from PIL import Image
def one(path):
    content = Path(path).read_bytes()
    id = hashlib.sha256(content).hexdigest()
    photo = Image.open(io.BytesIO(content)).convert("L").resize((9, 8))
    grey = np.asarray(photo)
    return id, np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes()
if __name__ == "__main__":
    started, spent = time.monotonic(), cpu()
    paths = [str(path) for path in sorted(Path(sys.argv[1]).rglob("*.jpg"))]
    with ProcessPoolExecutor(2) as pool:
        count = len(list(pool.map(one, paths, chunksize=100)))
    told(count)
"""
)
_OURS: Final = (
    _START
    + """
import sys
from pathlib import Path
from pawloop.problem import Problem
from tasks.collect import collect
from tasks.curate import curate
from tasks.split import split
photos, store = Path(sys.argv[1]), Path(sys.argv[2])
data = {"sources": [str(photos)]}
started, spent = time.monotonic(), cpu()
problem = Problem.model_validate({"name": "bench", "classes": ["cat", "dog"], "data": data})
dataset = split(curate(collect(problem, store).path, problem, store).path, problem, store)
told(sum(sum(side.values()) for side in dataset.counts().values()))
"""
)


@dataclass(frozen=True)
class Run:
    """What one run took, once its modules were loaded; its children's share is in it.

    peak_mb: of all its processes together, what they share counted once. count: photos.
    """

    wall_s: float
    cpu_s: float
    count: int
    peak_mb: float


def run(out: Path, quick: bool) -> None:
    """Measure and write the page."""
    count, rounds = (QUICK_COUNT, 3) if quick else (COUNT, 1)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        _say(f"drawing {count:,} photos")
        album.draw(photos, 0, count)
        size = statistics.mean(path.stat().st_size for path in photos.rglob("*.jpg"))
        _measured(_BARE, photos)  # so that the first round reads from memory, too
        bare, first, again = [], [], []
        for number in range(rounds):
            store = Path(folder) / f"store{number}"
            bare.append(_measured(_BARE, photos))
            first.append(_measured(_OURS, photos, store))
            album.draw(photos, count + number * count // 100, count + (number + 1) * count // 100)
            time.sleep(3)  # a file younger than two seconds is not trusted to stay as it is
            again.append(_measured(_OURS, photos, store))
            _say(f"round {number + 1}: bare {bare[-1]}, first {first[-1]}, again {again[-1]}")
    page = _page(count, size, bare, first, again, _near(rounds))
    print(page)
    path = out / ("data-quick.md" if quick else "data.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _measured(code: str, *arguments: Path) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        script, said = Path(folder) / "run.py", Path(folder) / "said"
        script.write_text(code)
        with said.open("w") as output:
            command = [sys.executable, str(script), *map(str, arguments)]
            process = psutil.Popen(command, stdout=output, env={**os.environ, "PYTHONPATH": str(_ROOT)})
        peak = 0.0
        while process.poll() is None:
            memory = 0
            for one in _tree(process):
                try:
                    memory += _share(one)
                except psutil.Error:
                    continue
            peak = max(peak, memory / 2**20)
            time.sleep(_EVERY_S)
        if process.returncode:
            raise SystemExit(f"a run of the bench ended with {process.returncode}")
        return Run(**json.loads(said.read_text()), peak_mb=peak)


def _share(process: psutil.Process) -> int:
    """Bytes of memory, of what is shared its part; what is its own alone where the system tells no more."""
    told = process.memory_full_info()
    return int(getattr(told, "pss", told.uss))


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _near(rounds: int) -> tuple[float, float]:
    """Seconds of CPU for the near pairs among random hashes with planted twins: ours, and every pair."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, _HASHES, np.uint64)
    flips = np.array([1 << bit for bit in range(64)], np.uint64)
    for number in range(1000):  # twins that differ in 0 to 7 bits
        hashes[-1 - number] = hashes[number] ^ np.bitwise_or.reduce(flips[rng.permutation(64)[: number % 8]])
    ours, every = [], []
    for _ in range(max(3, rounds)):
        started = time.process_time()
        found = pairs(hashes, _RADIUS)
        ours.append(time.process_time() - started)
    started = time.process_time()
    rows = []
    for row in range(len(hashes) - 1):
        near = np.flatnonzero(np.bitwise_count(hashes[row + 1 :] ^ hashes[row]) <= _RADIUS)
        rows += [(row, row + 1 + int(other)) for other in near]
    every.append(time.process_time() - started)
    if [tuple(pair) for pair in found.tolist()] != rows:
        raise SystemExit("near duplicates: not the pairs that comparing all of them finds")
    return statistics.median(ours), every[0]


def _page(
    count: int, size: float, bare: list[Run], first: list[Run], again: list[Run], near: tuple[float, float]
) -> str:
    def middle(runs: list[Run], what: str) -> float:
        return statistics.median(float(getattr(one, what)) for one in runs)

    def ratio(some: list[Run], others: list[Run], what: str) -> float:
        return statistics.median(
            float(getattr(a, what)) / float(getattr(b, what)) for a, b in zip(some, others)
        )

    rows = [
        (
            "speed of the bare loop that ours reaches, by the clock",
            "≥ 90 %",
            f"{ratio(bare, first, 'wall_s'):.0%}",
        ),
        ("… by CPU time", "≥ 90 %", f"{ratio(bare, first, 'cpu_s'):.0%}"),
        ("memory of all our processes, peak", "≤ 1,024 MiB", f"{middle(first, 'peak_mb'):,.0f} MiB"),
        ("again with 1 % new, by the clock", "≥ 20 times", f"{ratio(first, again, 'wall_s'):.1f} times"),
        ("… by CPU time", "≥ 20 times", f"{ratio(first, again, 'cpu_s'):.1f} times"),
        (
            f"near pairs of {_HASHES:,} hashes, all pairs' CPU time by ours",
            "≥ 50 times",
            f"{near[1] / near[0]:.0f} times",
        ),
    ]
    times = [
        (name, f"{middle(runs, 'wall_s'):.1f}", f"{middle(runs, 'cpu_s'):.1f}")
        for name, runs in (("bare loop", bare), ("ours, the first time", first), ("ours, 1 % new", again))
    ]
    return "\n".join(
        [
            "# Data: curating photos",
            "",
            f"{count:,} drawn JPEGs, 320 x 240, {size / 1000:.1f} kB on average; rounds: {len(bare)}; "
            f"`python -m bench data{'' if count == COUNT else ' --quick'}`, {datetime.now(UTC):%Y-%m-%d}.",
            "",
            "Ours collects, hashes, decodes, measures, judges and writes the version. The bare loop reads, "
            "hashes (SHA-256), decodes with Pillow and makes a difference hash, in two processes, and keeps "
            "nothing. The files lie in the page cache; loading Python's modules is left out of both. "
            "While others use the machine (last line), ratios by the clock compare moments, "
            "not programs: trust CPU time.",
            "",
            "| what | asked | measured |",
            "|---|---|---|",
            *(f"| {what} | {asked} | **{got}** |" for what, asked, got in rows),
            "",
            "| | seconds | seconds of CPU |",
            "|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in times),
            "",
            *(f"- {line}" for line in machine.described()),
            "",
        ]
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
