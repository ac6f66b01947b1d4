"""File names that not every system takes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def any_bytes() -> Iterator[None]:
    """Skip the test where names must be UTF-8, as on macOS."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EILSEQ:
            pytest.skip("this file system takes no name that is not UTF-8")
        raise
