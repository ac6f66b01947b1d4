"""What the bench ran on: processor, cores, versions, how busy others kept it.

Knows the machine. Knows nothing about measurements.
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pawloop.settings import usable_cores
from tasks.provenance import processor

_PACKAGES: Final = ("onnxruntime", "fastapi", "uvicorn", "uvloop", "httptools", "pillow", "numpy", "torch")


def described() -> list[str]:
    """Lines about this machine now."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.system()} {platform.machine()}, {_processor()}, "
        f"{usable_cores()} cores",
        f"Python {platform.python_version()}, {packages}",
        f"others kept {load():.1f} of the cores busy before it began (load average of a minute)",
    ]


def load() -> float:
    """Load average of the last minute, 0 where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    flags = path.read_text().split() if path.exists() else []
    special = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16") if flag in flags]
    return f"{processor()} ({', '.join(special)})"
