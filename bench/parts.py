"""Single questions: how soon it answers, how large it is, what large photos, tensors and int8 cost.

Each compares our server with the least that could do the same, in turns. Knows our server; knows nothing
about peers.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import bare, contestants, pictures, requests
from bench.bare import Bare
from bench.contestants import ROOT, Contestant, Range, ours
from bench.firing import LEAD_S, fire
from bench.models import RULE, Model
from pawloop import image

_LEAST: Final = """
import sys, fastapi, httptools, numpy, onnxruntime, pydantic_settings, uvicorn, uvloop
from pathlib import Path
from pawloop import image
from pawloop.session import Session
model, photo = map(Path, sys.argv[1:])
session = Session(model, provider="cpu")
rule = image.Resize(int(session.input_shape[1]))
session.run(image.decode(photo.read_bytes(), rule)[None], ("probabilities",))
print("answered", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Start:
    """From exec to the first answer, medians. least_s: a script that imports the same and answers once."""

    server_s: float
    least_s: float

    @property
    def ratio(self) -> float:
        """The server's time by the script's."""
        return self.server_s / self.least_s


def start(model: Model, ground: Range, photo: Path, rounds: int) -> Start:
    """Start both in turns."""
    server, least = [], []
    for _ in range(rounds):
        least.append(_least_s(model.files["float32"], photo))
        with contestants.running(Contestant("Pawloop, starting", variables=ours()), model, ground) as (
            child,
            _,
        ):
            server.append(child.start_s)
    return Start(statistics.median(server), statistics.median(least))


def _least_s(model: Path, photo: Path) -> float:
    command = [sys.executable, "-c", _LEAST, str(model), str(photo)]
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        said = process.stdout.readline()
        took = time.perf_counter() - began
        process.communicate(b"")
    if said.strip() != b"answered":
        raise RuntimeError("the bare script did not answer")
    return took


@dataclass(frozen=True)
class Against:
    """Ours by something bare, medians of the rounds: photos a second, and CPU time a request.

    fair_ratio: by the part of the bare that the load generator left. cpu_ratio hardly minds what else the
    machine does.
    """

    ratio: float
    fair_ratio: float
    cpu_ratio: float


def large_photos(model: Model, ground: Range, test_data: Path, rounds: int, seconds: float) -> Against:
    """Twelve megapixels over HTTP, against loops that decode all of it with Pillow and then resize."""
    photos = pictures.large_photos(test_data)
    folder = ground.folder / "large"
    folder.mkdir(exist_ok=True)
    for number, photo in enumerate(photos):
        (folder / f"{number}.jpg").write_bytes(photo)
    wide = Range(photos, ground.workers, ground.folder / "of-large")
    wide.folder.mkdir(exist_ok=True)
    who = Contestant("Pawloop, large photos", variables=ours())
    return _against(
        who, model, wide, (rounds, seconds),
        lambda: bare.limit(model.files["float32"], folder, seconds, ground.workers, "plainly"),
    )  # fmt: skip


def tensors(model: Model, ground: Range, photos: Path, rounds: int, seconds: float) -> Against:
    """`/v2` with binary tensors of decoded photos, against loops of inference alone."""
    path = "/v2/models/bench/infer"
    folder = ground.folder / "requests" / "tensors"
    folder.mkdir(parents=True, exist_ok=True)
    for number, photo in enumerate(ground.photos):
        (folder / f"{number:04}").write_bytes(requests.tensor(image.decode(photo, RULE)[None], path))
    who = Contestant("Pawloop, tensors", variables=ours())
    return _against(
        who, model, ground, (rounds, seconds),
        lambda: bare.limit(model.files["float32"], photos, seconds, ground.workers, "not"),
        folder,
    )  # fmt: skip


def _against(
    who: Contestant,
    model: Model,
    ground: Range,
    laps: tuple[int, float],
    limit: Callable[[], Bare],
    folder: Path | None = None,
) -> Against:
    rounds, seconds = laps
    ratios, fair, costs = [], [], []
    with contestants.running(who, model, ground) as (child, plain):
        fire(child, folder or plain, connections=8, seconds=1)
        for _ in range(rounds):
            least = limit()
            outcome = fire(child, folder or plain, LEAD_S, connections=8, seconds=LEAD_S + seconds)
            ratios.append(outcome.photos_s / least.photos_s)
            fair.append(ratios[-1] / outcome.share_left(ground.workers))
            costs.append(outcome.cpu_ms / least.cpu_ms)
    return Against(*map(statistics.median, (ratios, fair, costs)))


@dataclass(frozen=True)
class Precisions:
    """Inference of one photo on one thread, milliseconds of CPU, medians."""

    backbone: str
    float32_ms: float
    int8_ms: float

    @property
    def gain(self) -> float:
        """How much faster int8 is."""
        return self.float32_ms / self.int8_ms


def precisions(model: Model, photos: Path, rounds: int, seconds: float) -> Precisions:
    """Both files of a model, in turns."""
    took: dict[str, list[float]] = {"float32": [], "int8": []}
    for _ in range(rounds):
        for name, path in model.files.items():
            took[name].append(bare.limit(path, photos, seconds, 1, "not").cpu_ms)
    return Precisions(model.backbone, statistics.median(took["float32"]), statistics.median(took["int8"]))
