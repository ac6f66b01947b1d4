"""Who races: our own server in several settings, and the peers that could be installed.

Knows how each is started and asked. Knows nothing about load or results.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import children, requests
from bench.children import Child
from bench.models import Model
from bench.peers import APPS, ENVIRONMENTS, PEERS, Peer
from bench.requests import Form

ROOT: Final = Path(__file__).resolve().parents[1]
OURS: Final = "Pawloop"
WITH_OPENVINO: Final = "pawloop-openvino"  # its environment


@dataclass(frozen=True)
class Contestant:
    """One server. variables: its environment's, besides those that every peer gets.

    python: that ours runs in, where it is another than this one.
    """

    name: str
    form: Form = "raw"
    path: str = "/predict"
    variables: Mapping[str, str] = field(default_factory=dict)
    peer: Peer | None = None
    python: Path | None = None


@dataclass(frozen=True)
class Range:
    """Where servers are run: the photos, the workers that peers may have, a folder for requests and logs."""

    photos: Sequence[bytes]
    workers: int
    folder: Path

    def requests(self, form: Form, path: str, headers: str = "") -> tuple[Path, bytes]:
        """A folder of requests for the load generator, and the first of them."""
        folder = self.folder / "requests" / f"{form}{path}{headers}".replace("/", "_").replace("\r\n", "")
        if folder.exists():
            return folder, sorted(folder.iterdir())[0].read_bytes()
        return requests.written(folder, self.photos, form, path, headers)


def ours(**settings: str) -> dict[str, str]:
    """The environment of our server: no journal, one variant, unless told otherwise."""
    told = {"JOURNAL": "off", "PRECISION": "float32", "PROVIDER": "cpu", **settings}
    return {f"PAWLOOP_{name}": value for name, value in told.items()}


OUR_OWN: Final = (
    Contestant(OURS, variables=ours()),
    Contestant(f"{OURS}, photo in a form", form="form", variables=ours()),
    Contestant(f"{OURS}, with its journal", variables=ours(JOURNAL="")),
)


def what_ours_takes() -> list[Contestant]:
    """Ours with the variant and provider that it finds the fastest: as installed, and with OpenVINO."""
    chooses = ours(PRECISION="auto", PROVIDER="auto")
    python = ENVIRONMENTS / WITH_OPENVINO / "bin" / "python"
    return [
        Contestant(f"{OURS}, what it takes", variables=chooses),
        Contestant(f"{OURS} with OpenVINO, what it takes", variables=chooses, python=python),
    ]


def everybody() -> list[Contestant]:
    """Ours and the peers, installed or not."""
    rivals = [Contestant(peer.name, peer.form, peer.path, peer.variables, peer) for peer in PEERS]
    return [*OUR_OWN, *rivals]


@contextmanager
def running(who: Contestant, model: Model, ground: Range) -> Iterator[tuple[Child, Path]]:
    """A contestant that answers, and the folder of its requests. Raises DidNotStartError."""
    port = children.free_port()
    folder, first = ground.requests(who.form, who.path)
    log = ground.folder / f"{who.name.replace(' ', '-').replace('/', '')}.log"
    if who.peer is None:
        command: Sequence[str] = [str(who.python or sys.executable), "-m", "serve"]
        place, variables = ROOT, {**_of_ours(model, port), **who.variables}
    else:
        command = who.peer.argv(port, ground.workers)
        place, variables = APPS, {**_of_peers(model, port, ground.workers), **who.variables}
    with children.started(command, port, first, variables, place, log) as child:
        yield child, folder


def _of_ours(model: Model, port: int) -> dict[str, str]:
    return {
        "PAWLOOP_STORE": str(model.store),
        "PAWLOOP_PROBLEM": str(model.problem),
        "PAWLOOP_PORT": str(port),
        "PAWLOOP_HOST": "127.0.0.1",
    }


def _of_peers(model: Model, port: int, workers: int) -> dict[str, str]:
    return {
        "BENCH_MODEL": str(model.files["float32"]),
        "BENCH_TORCH_MODEL": str(model.torch),
        "BENCH_PORT": str(port),
        "BENCH_WORKERS": str(workers),
        "PYTHONPATH": str(APPS),
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_GRPC_PORT": str(children.free_port()),
        "MLSERVER_METRICS_PORT": str(children.free_port()),
        "MLSERVER_PARALLEL_WORKERS": str(workers),
    }
