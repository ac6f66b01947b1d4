"""Addresses as they may be shown: without user, password and query, which often hold a key.

Knows how addresses are written. Knows nothing about what lies behind one.
"""

from __future__ import annotations

import re
from typing import Final

from pawloop.sections import NAMED_SOURCES

_USER: Final = re.compile(r"(?<=://)(?<!abfs://)(?<!abfss://)[^/?\s]*@")  # Azure has a container there
_WORD: Final = re.compile(r"[^\s'\"<>(]+")  # one with a scheme would be sought anew from each of its letters


def public(source: str) -> str:
    """A source of photos as people may see it: scheme, host and path; a local path as it is.

    What is named `sample://`, `journal://` and the like is whole, since its query is no secret.
    """
    scheme, is_address, _ = source.partition("://")
    if not is_address or scheme in NAMED_SOURCES:
        return source
    return _USER.sub("", source).partition("?")[0]


def public_text(text: str) -> str:
    """Others' words, such as a library's error, with each address in them as `public` has it."""
    return _WORD.sub(lambda found: public(found[0]), text)
