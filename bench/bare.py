"""The bare limit: decode and run, one photo after the other, without a server.

`python -m bench.bare MODEL PHOTOS SECONDS DECODES` is one process of it and prints what it did; `limit` runs
one a core at once. Decoder and session are those of the server. Knows nothing about HTTP.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pawloop import image
from pawloop.session import Session

# With our decoder, with Pillow as its tutorial has it, or beforehand.
Decodes = Literal["well", "plainly", "not"]


@dataclass(frozen=True)
class Bare:
    """What the cores give at most. cpu_ms, p50_ms: a photo, decoded and answered."""

    photos_s: float
    cpu_ms: float
    p50_ms: float

    @classmethod
    def mean(cls, several: Sequence[Bare]) -> Bare:
        """Of measurements that were made around something else."""
        return cls(*map(statistics.mean, zip(*map(astuple, several), strict=True)))


def limit(model: Path, photos: Path, seconds: float, processes: int, decodes: Decodes = "well") -> Bare:
    """Run `processes` loops at once over the photos in a folder."""
    command = [sys.executable, "-m", "bench.bare", str(model), str(photos), str(seconds), decodes]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    told = [json.loads(process.communicate()[0]) for process in started]
    count = sum(one["count"] for one in told)
    return Bare(
        photos_s=sum(one["count"] / one["seconds"] for one in told),
        cpu_ms=1000 * sum(one["cpu_s"] for one in told) / count,
        p50_ms=statistics.median(one["p50_ms"] for one in told),
    )


def loop(model: Path, photos: Path, seconds: float, decodes: Decodes) -> dict[str, float]:
    """One process's share."""
    session = Session(model, provider="cpu")
    rule = image.Resize(int(session.input_shape[1]))
    contents = [path.read_bytes() for path in sorted(photos.iterdir())]
    pixels = [image.decode(content, rule)[None] for content in contents]  # each [1, S, S, 3]
    for one in pixels[:8]:
        session.run(one, ("probabilities",))
    took = []
    started, cpu = time.perf_counter(), time.process_time()
    for content, ready in cycle(zip(contents, pixels)):
        before = time.perf_counter()
        if before - started > seconds:
            break
        if decodes == "well":
            ready = image.decode(content, rule)[None]
        elif decodes == "plainly":
            ready = _plainly(content, rule)[None]
        session.run(ready, ("probabilities",))
        took.append(time.perf_counter() - before)
    return {
        "count": len(took),
        "seconds": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu,
        "p50_ms": 1000 * statistics.median(took),
    }


def _plainly(content: bytes, rule: image.Resize) -> NDArray[np.uint8]:
    """Pixels [S, S, 3]: the whole photo decoded, then resized, then cropped, as tutorials have it."""
    photo = Image.open(io.BytesIO(content)).convert("RGB")
    scale = rule.size / (min(photo.size) * rule.crop)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BILINEAR)
    left, top = (photo.width - rule.size) // 2, (photo.height - rule.size) // 2
    return np.asarray(photo.crop((left, top, left + rule.size, top + rule.size)))


if __name__ == "__main__":
    wanted = next(name for name in get_args(Decodes) if name == sys.argv[4])
    print(json.dumps(loop(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), wanted)))
