"""Under what terms the photos of a source may be used, where the source says so.

Knows the sources' own words. Judges nothing: what is not stated, a person must look up.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pawloop.paths import expanded
from tasks.place import path_of

NOT_STATED: Final = "not stated"
_KNOWN: Final = {
    "sample": "Apache-2.0, drawn by Pawloop",
    "oxford-iiit-pet": "CC BY-SA 4.0; each photo's copyright stays with its owner",
    "journal": "sent to this problem's server by its users",
}
_NAMES: Final = ("license", "licence", "copying", "readme")
_MOST_LETTERS: Final = 100


def licences(sources: Iterable[str], stated: str | None) -> dict[str, str]:
    """The terms of each source: what the problem file states, else what the source itself tells."""
    return {source: stated or _told(source) for source in sources}


def _told(source: str) -> str:
    scheme, is_url, _ = source.partition("://")
    if scheme in _KNOWN:
        return _KNOWN[scheme]
    if is_url and scheme != "file":
        return NOT_STATED
    folder = expanded(path_of(source, Path()))
    files = sorted(folder.iterdir(), key=lambda path: _rank(path.name)) if folder.is_dir() else []
    named = [path for path in files if _rank(path.name) < len(_NAMES) and path.is_file()]
    return f"{named[0].name}: {_first_line(named[0])}" if named else NOT_STATED


def _rank(name: str) -> int:
    return next((place for place, word in enumerate(_NAMES) if name.lower().startswith(word)), len(_NAMES))


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = (line.strip(" #=-\t\r\n") for line in file.read(4096).splitlines())
    return next((line for line in lines if line), "")[:_MOST_LETTERS]
