"""Our own server as somebody installs it: an environment with what `.[serve]` needs and nothing else.

Knows pyproject.toml and pip. Knows nothing about what is measured there.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from bench.peers import ENVIRONMENTS, NotInstalledError

_ROOT: Final = Path(__file__).resolve().parents[1]
_INSTALL_S: Final = 600
# Brings the second execution provider, and takes the place of onnxruntime, whose module name it shares.
OPENVINO: Final = "onnxruntime-openvino==1.24.1"


def environment(name: str, runtime: str | None = None) -> Path:
    """The folder of an environment, made where it is missing or out of date.

    runtime: to install in the place of onnxruntime. Raises NotInstalledError with pip's last words.
    """
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    if runtime:
        wanted = [one for one in wanted if not one.startswith("onnxruntime")] + [runtime]
    constraints = _ROOT / "constraints.txt"
    told = "\n".join([*wanted, constraints.read_text()])
    folder = ENVIRONMENTS / name
    mark = folder / f"installed-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
    if not mark.exists():
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([*pip, "install", "-q", "-c", str(constraints), *wanted])
        _run([*pip, "uninstall", "-q", "-y", "pip", "setuptools"])
        mark.touch()
    return folder


def installed_mb() -> float:
    """Size of the environment of `.[serve]`, without the virtual environment's own pip."""
    folder = environment("pawloop-serve")
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.CalledProcessError as error:
        raise NotInstalledError((error.stderr.splitlines() or ["pip failed"])[-1][:300]) from None
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"not installed within {_INSTALL_S} s") from None
