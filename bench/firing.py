"""Load from a process of its own, and what came of it, with what it cost the server and the generator.

Knows plans and answers. Knows nothing about which server is under fire.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bench.children import Child

LEAD_S: Final = 0.25  # of a closed loop, by when its connections are open and as many requests wait as will


@dataclass(frozen=True)
class Outcome:
    """One run of load. answers: rows of (seconds since the start, milliseconds it took, status).

    cpu_s: of the server's whole tree. own_cpu_s: of the load generator. unsent: requests that were due and
    never sent or answered. lead_s: at the start, while connections open and the queue fills; photos a second
    are those after it.
    """

    answers: np.ndarray  # [K, 3]
    seconds: float
    cpu_s: float
    own_cpu_s: float
    unsent: int = 0
    lead_s: float = 0.0

    @property
    def photos_s(self) -> float:
        """Answers with 200 a second."""
        at, status = self.answers[:, 0], self.answers[:, 2]
        return float(((status == 200) & (at >= self.lead_s)).sum() / (self.seconds - self.lead_s))

    @property
    def failed(self) -> int:
        """Answers with anything else."""
        return int((self.answers[:, 2] != 200).sum())

    @property
    def cpu_ms(self) -> float:
        """The server's CPU time a request."""
        return 1000 * self.cpu_s / max(1, len(self.answers))

    def share_left(self, cores: int) -> float:
        """The part of the cores that the generator left to the server."""
        return 1 - self.own_cpu_s / (self.seconds * cores)

    def percentile_ms(self, percent: float, status: int = 200) -> float:
        """Of the time that answers of one status took; not a number where there was none."""
        took = self.answers[self.answers[:, 2] == status, 1]
        return float(np.percentile(took, percent)) if len(took) else float("nan")


class Gun:
    """Load that goes on beside what the caller does; `outcome` waits for its end."""

    def __init__(self, child: Child, requests: Path, lead_s: float = 0.0, **plan: float) -> None:
        """lead_s: as of `Outcome`. plan: connections or rate, seconds in all, and perhaps count, as
        `bench.load` understands them.
        """
        told = json.dumps({"port": child.port, "requests": str(requests), **plan})
        self._child = child
        self._lead_s = lead_s
        self._cpu_s = child.cpu_s()
        self._process = subprocess.Popen([sys.executable, "-m", "bench.load", told], stdout=subprocess.PIPE)

    def outcome(self) -> Outcome:
        """What came of it."""
        said = self._process.communicate()[0]
        cpu_s = self._child.cpu_s() - self._cpu_s
        if self._process.returncode:
            raise RuntimeError("the load generator failed; its own words stand above")
        told = json.loads(said)
        answers = np.asarray(told["answers"] or np.empty((0, 3)), np.float64).reshape(-1, 3)
        return Outcome(answers, told["seconds"], cpu_s, told["cpu_s"], told["unsent"], self._lead_s)


def fire(child: Child, requests: Path, lead_s: float = 0.0, **plan: float) -> Outcome:
    """Load, and nothing else beside it."""
    return Gun(child, requests, lead_s, **plan).outcome()
