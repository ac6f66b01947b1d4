"""Which code, run and machine made something.

Knows this tree's own files. Knows nothing about data.
"""

from __future__ import annotations

import hashlib
import platform
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pawloop.settings import usable_cores

_TREE = Path(__file__).resolve().parent.parent
_LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-openvino", "pillow", "torch", "torchvision")
_MAKES_FEATURES = (
    "export/backbone.py", "export/front.py", "export/onnx.py", "export/vision.py", "pawloop/image.py",
    "pawloop/session.py", "tasks/augment.py",
)  # fmt: skip
_DECIDES = ("export", "tasks", "pawloop/image.py", "pawloop/session.py", "pawloop/decision.py")


@cache
def code_version() -> str:
    """Hash (12 digits) of the sources and libraries that decide what a training gives, committed or not.

    Neither the server's nor the flows' code is in it: another page is no reason to train again.
    """
    return _hashed(_DECIDES)


@cache
def view_version() -> str:
    """As `code_version`, of what decides which features a frozen graph gives of a photo."""
    return _hashed(_MAKES_FEATURES)


def _hashed(parts: Sequence[str]) -> str:
    total = hashlib.sha256("".join(f"{name} {_release(name)}\n" for name in _LIBRARIES).encode())
    for part in parts:
        path = _TREE / part
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            total.update(source.relative_to(_TREE).as_posix().encode())
            total.update(source.read_bytes())
    return total.hexdigest()[:12]


def _release(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # onnxruntime also comes by the names of its providers
        return ""


def machine() -> str:
    """What the work is done on, and by which PyTorch."""
    import torch  # asked by who trains; who lists experiments need not wait for it

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.machine()}, {processor()}, {usable_cores()} cores{gpu}, torch {version('torch')}"


def origin(dataset: str, seed: int) -> dict[str, str | int]:
    """What a training begun now on a version of photos is recorded with."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": dataset,
        "code": code_version(),
        "seed": seed,
        "machine": machine(),
    }


@cache
def processor() -> str:
    """The processor's name as its maker gives it, or the system's word where there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def new_run() -> str:
    """A name for a run that sorts by time: 20261124-205411-3fa2."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
