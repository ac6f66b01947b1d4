"""Every error that Pawloop raises on purpose, in one hierarchy.

A message says what went wrong, where, and what to do about it. Knows nothing of HTTP or exit codes:
each border translates these classes by one table of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PawloopError(Exception):
    """Something that a person can act on; the message is meant to be shown as it is."""


class SettingsError(PawloopError):
    """A setting of the machine (environment or `.env`) cannot be used."""


class ProblemFileError(PawloopError):
    """The problem file cannot be found, read or understood."""


class SourceError(PawloopError):
    """A source of photos cannot be reached or is not laid out as expected."""


class UnreachableSourceError(SourceError):
    """Whoever has the photos does not answer, or not now, or not to us."""


class PhotoError(PawloopError):
    """Bytes that are not a photo we can read."""


class PhotoTooLargeError(PhotoError):
    """A photo beyond the limits on bytes or pixels."""


class PhotoFormatError(PhotoError):
    """Bytes in no image format that we read."""


class DatasetError(PawloopError):
    """A dataset version is missing, damaged or not fit to train on."""


class WeightsError(PawloopError):
    """Pretrained weights cannot be had or do not fit the backbone."""


class TrainingError(PawloopError):
    """Training cannot start or has gone wrong."""


class ExportError(PawloopError):
    """The ONNX file does not say what the trained network says."""


class RegistryError(PawloopError):
    """A model version or an alias cannot be read, written or found."""


class DamagedVersionError(RegistryError):
    """A version's files are not those that its card describes."""


class DamagedFileError(PawloopError):
    """A file that Pawloop keeps for itself is not as it was written; the message says what to do about it."""


class JournalError(PawloopError):
    """Predictions or labels cannot be written or read."""


class JournalOffError(JournalError):
    """Nothing is written, as that was asked for."""


class BusyError(PawloopError):
    """Somebody else holds what is needed now."""


class OverloadedError(BusyError):
    """More photos wait than can be answered in time. retry_after_s: when it is worth asking again."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServerError(PawloopError):
    """The inference server cannot start, cannot be reached or answers with an error."""


class UnreachableError(ServerError):
    """Nobody answers at a server's address, however often it is asked."""


class DeniedError(ServerError):
    """A server answers no call of ours: it wants another key, or has no such path."""


class NoModelError(ServerError):
    """There is no model in service yet."""


class ConfirmError(PawloopError):
    """The live server did not take the new version into service."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` for the known word closest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else ""
