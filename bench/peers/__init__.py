"""The servers that ours is measured against: how each is installed, started and asked.

Each lives in an environment of its own under `.peers/`, with the versions that its requirements file pins,
and runs the app beside this file in the best way that its documentation offers; photos are decoded as the
tutorial of Pillow has it. The strongest runs once more with our decoder, to tell what of the gap that is.
Knows nothing about load.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.requests import Form

APPS: Final = Path(__file__).parent
ENVIRONMENTS: Final = APPS.parents[1] / ".peers"
_INSTALL_S: Final = 600


class NotInstalledError(Exception):
    """A peer's packages could not be had; the message says why."""


@dataclass(frozen=True)
class Peer:
    """One server in one configuration.

    environment: its folder and its requirements file. command: with {bin}, {port} and {workers} to be
    filled in. form, path: how a photo is sent.
    """

    name: str
    environment: str
    command: str
    form: Form = "form"
    path: str = "/predict"
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_our_decoder(self) -> bool:
        """Whether it decodes as ours does, which no documentation of its own told it."""
        return "BENCH_OUR_DECODER" in self.variables

    def argv(self, port: int, workers: int) -> list[str]:
        """The command, filled in."""
        filled = self.command.format(bin=ENVIRONMENTS / self.environment / "bin", port=port, workers=workers)
        return filled.split()


OUR_DECODER: Final = ", our decoder"
_ONE_TORCH_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_UVICORN = "{bin}/uvicorn fastapi_onnx:app --host 127.0.0.1 --port {port} --no-access-log --log-level warning"
_MLSERVER = {
    "MLSERVER_HOST": "127.0.0.1",
    "MLSERVER_DEBUG": "false",
    "MLSERVER_MODEL_NAME": "bench",
    "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_onnx.Classifier",
}

PEERS: Final = (
    Peer(
        "Flask's own server, PyTorch",
        "flask",
        "{bin}/flask --app flask_torch run --host 127.0.0.1 --port {port}",
    ),
    Peer(
        "Flask, gunicorn, PyTorch",
        "flask",
        "{bin}/gunicorn --workers {workers} --threads 4 --bind 127.0.0.1:{port} flask_torch:app",
        variables=_ONE_TORCH_THREAD,
    ),
    Peer("FastAPI, def", "fastapi", _UVICORN),
    Peer("FastAPI, def, one thread a run", "fastapi", _UVICORN, variables={"BENCH_ORT_THREADS": "1"}),
    Peer(
        "FastAPI, def, a worker a core",
        "fastapi",
        _UVICORN + " --workers {workers}",
        variables={"BENCH_ORT_THREADS": "1"},
    ),
    Peer(
        f"FastAPI, def, a worker a core{OUR_DECODER}",
        "fastapi",
        _UVICORN + " --workers {workers}",
        variables={"BENCH_ORT_THREADS": "1", "BENCH_OUR_DECODER": "1"},
    ),
    Peer("FastAPI, async def", "fastapi", _UVICORN, path="/predict-async"),
    Peer("LitServe, a worker a core", "litserve", "{bin}/python litserve_onnx.py"),
    Peer(
        "BentoML, a worker a core",
        "bentoml",
        "{bin}/bentoml serve bentoml_onnx:Classifier --host 127.0.0.1 --port {port}",
        variables={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Peer(
        "MLServer, a worker a core",
        "mlserver",
        "{bin}/mlserver start .",
        form="v2",
        path="/v2/models/bench/infer",
        variables=_MLSERVER,
    ),
    Peer("Ray Serve, a replica a core", "rayserve", "{bin}/python rayserve_onnx.py", form="raw"),
)


def install(environment: str) -> list[str]:
    """Make an environment, or find it made; what is in it, as `name==version`.

    Raises NotInstalledError with the installer's last words.
    """
    folder = ENVIRONMENTS / environment
    pinned = (APPS / f"requirements-{environment}.txt").read_text()
    mark = folder / f"installed-{hashlib.sha256(pinned.encode()).hexdigest()[:16]}"
    if not mark.exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([*_pip(folder), "install", "--quiet", "-r", str(APPS / f"requirements-{environment}.txt")])
        mark.touch()
    return pinned.split()


def _pip(folder: Path) -> list[str]:
    return [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"not installed within {_INSTALL_S} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstalledError((errors or done.stderr.splitlines() or ["pip failed"])[-1][:300])
