"""JSON as strangers send it, parsed within bounds.

Knows how much of it there may be. Knows nothing about what it means.
"""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.exceptions import HTTPException

_MOST_VALUES: Final = 2_000_000  # json holds the interpreter's lock, 0.2 s for so many, and all else waits


def parsed(content: bytes, what: str) -> Any:  # Any: JSON
    """The value. what: how an error names the content.

    Raises HTTPException 400 for what is no JSON, 413 for too many values in it.
    """
    if sum(map(content.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise HTTPException(
            413,
            f"{what} holds more than {_MOST_VALUES:,} JSON values; send pixels as a binary tensor",
        )
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"{what} is not JSON: {error}") from None
