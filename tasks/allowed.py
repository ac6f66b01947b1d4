"""Which sources a run may be asked for by name.

A run's `source` comes from a form that more people reach than this machine's files. Knows paths and
addresses. Knows nothing about who asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pawloop.addresses import public
from pawloop.errors import SourceError
from pawloop.paths import expanded
from pawloop.problem import Problem
from pawloop.sections import NAMED_SOURCES
from tasks.place import path_of


def varied(problem: Problem, source: str | None, backbone: str | None, places: Sequence[str]) -> Problem:
    """The problem with another source or backbone, as a run asks for it.

    Raises SourceError for a source that is neither the problem's own nor below one of `places`.
    """
    if source:
        require_allowed(source, (*problem.data.sources, *places))
    return problem.varied(source, backbone)


def require_allowed(source: str, places: Sequence[str]) -> None:
    """Raise SourceError unless a source lies below one of `places`: folders, or addresses such as
    `s3://bucket/photos` and `https://host`.

    Links and `..` are followed first. The sample, the journal and the Oxford pets are always allowed.
    """
    scheme = source.partition("://")[0]
    if scheme in NAMED_SOURCES or any(_is_below(source, place) for place in places):
        return
    said = ", ".join(map(public, places)) or "none"
    raise SourceError(
        f"{public(source)}: this machine's operator does not allow this source (allowed: {said}); take "
        "another, or name it in PAWLOOP_ALLOWED_SOURCES"
    )


def _is_below(source: str, place: str) -> bool:
    if source == place:
        return True
    if "::" in source:  # fsspec's chains of addresses: the last one is what is read
        return False
    if source.startswith("file://"):
        source = str(path_of(source, Path()))
    if "://" in source or "://" in place:
        return _address_is_below(source, place)
    return expanded(source).resolve().is_relative_to(expanded(place).resolve())


def _address_is_below(source: str, place: str) -> bool:
    asked, allowed = urlsplit(source), urlsplit(place)
    parts, allowed_parts = asked.path.strip("/").split("/"), [p for p in allowed.path.split("/") if p]
    return (
        (asked.scheme, asked.netloc) == (allowed.scheme, allowed.netloc)
        and ".." not in parts
        and parts[: len(allowed_parts)] == allowed_parts
    )
