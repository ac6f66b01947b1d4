"""Names that strangers chose, as people may see them, and not too many at once.

Knows nothing about where a name comes from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(name: str) -> str:
    """A name for people, also where its encoding is broken or it holds what would command a terminal."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_lines(text: str) -> str:
    """The same of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def some_of(names: Sequence[str], joint: str = ", ", most: int = 12) -> str:
    """Names in a sentence, of very many the first: "a, b and 3 more"."""
    said = joint.join(names[:most])
    return f"{said} and {len(names) - most:,} more" if len(names) > most else said
