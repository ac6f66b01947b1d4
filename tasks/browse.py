"""What a person asks about dataset versions: which there are, what changed, what was set aside, who learned.

Reads manifests. Changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pawloop.errors import DatasetError
from pawloop.registry import Registry
from tasks import history
from tasks.doubted import doubted
from tasks.manifest import KEPT, SIDES, Dataset, Side, versions


@dataclass(frozen=True)
class Summary:
    """A version in one line. counts: photos kept, by class. set_aside: files by reason.

    models: the registry's versions that learned from it, with the part that each plays now.
    """

    id: str
    created_at: datetime
    counts: dict[str, int]
    set_aside: dict[str, int]
    sources: list[str]
    notes: list[str]
    models: dict[int, str]

    @property
    def kept(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Difference:
    """From one version to another: photos by class that came and went, and those whose class changed.

    relabelled: id, old class, new class.
    """

    added: dict[str, int]
    removed: dict[str, int]
    relabelled: list[tuple[str, str, str]]
    rules_changed: bool


@dataclass(frozen=True)
class SetAside:
    """A file that a version found and does not hold. why: a sentence for a person."""

    name: str
    source: str
    location: str
    label: str | None
    verdict: str
    why: str


@dataclass(frozen=True)
class Doubt:
    """A photo whose label confident learning holds for wrong. likely: the class that others like it have."""

    name: str
    location: str
    label: str
    likely: str


def summary(dataset: Dataset) -> Summary:
    """What `version.json` says, and who learned from it, as a value."""
    return _summary(dataset, _learners(dataset.store, dataset.name))


def summaries(store: Path, name: str) -> list[Summary]:
    """Every version of a problem's photos, newest last."""
    learners = _learners(store, name)
    return [_summary(dataset, learners) for dataset in versions(store, name)]


def difference(old: Dataset, new: Dataset) -> Difference:
    """What changed from `old` to `new`."""
    before, after = _labels(old), _labels(new)
    return Difference(
        dict(Counter(label for id, label in after.items() if id not in before)),
        dict(Counter(label for id, label in before.items() if id not in after)),
        sorted((id, before[id], label) for id, label in after.items() if before.get(id, label) != label),
        old.facts()["rules"] != new.facts()["rules"],
    )


def quarantine(dataset: Dataset, verdict: str | None = None) -> Iterator[SetAside]:
    """The files that were set aside, of one verdict or of all, by verdict and name."""
    rows = dataset.rows(["name", "source", "location", "label", "verdict", "reason"])
    wanted = pc.not_equal(rows["verdict"], KEPT) if verdict is None else pc.equal(rows["verdict"], verdict)
    chosen = rows.filter(wanted).sort_by([("verdict", "ascending"), ("name", "ascending")])
    for row in chosen.to_pylist():
        yield SetAside(
            row["name"], row["source"], row["location"], row["label"], row["verdict"], row["reason"]
        )


def doubts(dataset: Dataset) -> list[Doubt]:
    """The photos of a version whose label is probably wrong, by name; none before it was explored."""
    found = doubted(dataset)
    kept = dataset.kept(["id", "name", "location", "label"])
    rows = kept.filter(pc.is_in(kept["id"], pa.array([id for id, _ in found], pa.string())))
    return [
        Doubt(row["name"], row["location"], row["label"], found[row["id"], row["label"]])
        for row in rows.sort_by("name").to_pylist()
        if (row["id"], row["label"]) in found
    ]


def holding(store: Path, name: str, photo_id: str) -> list[str]:
    """The ids of the versions that keep a photo, as it arrived or as it lies in the store, newest last."""
    wanted = (pc.field("id") == photo_id) | (pc.field("stored") == photo_id)
    return [one.id for one in versions(store, name) if one.kept(["id", "stored"]).filter(wanted).num_rows]


def changed(dataset: Dataset, on_progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Every photo that changed or vanished since the version was made, in words; all of them are read."""
    photos = [photo for side in SIDES for photo in dataset.photos(side)]
    found = []
    for done, photo in enumerate(photos, start=1):
        try:
            dataset.read(photo)
        except DatasetError as error:
            found.append(str(error))
        if on_progress is not None:
            on_progress(done, len(photos))
    return found


def failed_checks(dataset: Dataset) -> list[str]:
    """The checks of validation that this version did not pass, in words."""
    checks = history.log(dataset).get("checks", [])
    return [f"{c['name']}: asked {c['asked']}, got {c['got']}" for c in checks if not c["passed"]]


def _summary(dataset: Dataset, learners: Mapping[str, dict[int, str]]) -> Summary:
    facts = dataset.facts()
    counts: dict[Side, dict[str, int]] = facts["counts"]
    return Summary(
        dataset.id,
        datetime.fromisoformat(facts["created_at"]),
        {label: sum(counts[side][label] for side in SIDES) for label in facts["classes"]},
        facts["set_aside"],
        facts["sources"],
        facts["notes"],
        learners.get(dataset.id, {}),
    )


def _learners(store: Path, name: str) -> dict[str, dict[int, str]]:
    """The registry's versions by the dataset version that each learned from, with the part it plays now."""
    registry = Registry(store, name)
    aliases = registry.aliases()
    parts = {aliases.previous: "previous", aliases.challenger: "challenger", aliases.champion: "champion"}
    found: dict[str, dict[int, str]] = {}
    for version in registry.each_readable():
        found.setdefault(version.card.dataset.id, {})[version.number] = parts.get(version.number, "")
    return found


def _labels(dataset: Dataset) -> dict[str, str]:
    table = dataset.kept(["id", "label"])
    return dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
