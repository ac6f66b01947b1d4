"""A path as a person wrote it. Knows nothing about what lies there."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with the home folder that a `~` at its start means; as it is where there is no such home."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  (Path's own raises where there is none)
