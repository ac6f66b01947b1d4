"""Which labels of a version are doubted, kept in its folder for whoever curates next.

Knows the list. Knows nothing about how a label comes to be doubted (see `suspects`).
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any, Final

from pawloop import durable
from pawloop.errors import DamagedFileError
from tasks.manifest import Dataset

log = logging.getLogger(__name__)

_FILE: Final = "suspects.json"
_AGAIN: Final = "delete it; `pawloop retrain --force` makes today's again"


@dataclass(frozen=True)
class Suspect:
    """A photo that looks more like another class than like its own.

    row: which one of those judged. likely: the class that others like it have. quality: 0 to 1, how well
    its label fits. is_confident: whether confident learning holds the label for wrong.
    """

    row: int
    given: str
    likely: str
    quality: float
    is_confident: bool


def keep(dataset: Dataset, found: list[Suspect], ids: list[str]) -> None:
    """Note a version's suspects in its folder; ids: of the rows that were judged."""
    listed = [{**asdict(one), "photo": ids[one.row]} for one in found]
    durable.write_json(dataset.folder / _FILE, listed)


def doubted(dataset: Dataset) -> dict[tuple[str, str], str]:
    """The confident suspects noted of a version: photo and given class to the likely one.

    None where it was never explored, or their file is damaged.
    """
    try:
        return durable.read_json(dataset.folder / _FILE, _confident, _AGAIN)
    except FileNotFoundError:
        return {}
    except DamagedFileError as error:
        log.warning("Doubted labels are left out: %s", error)
        return {}


def _confident(listed: list[dict[str, Any]]) -> dict[tuple[str, str], str]:  # Any: JSON's values
    return {(one["photo"], one["given"]): one["likely"] for one in listed if one["is_confident"]}
