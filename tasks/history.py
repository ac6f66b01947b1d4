"""A version beside those before it: what came, what went, what was checked.

Knows versions and their logs. Knows nothing about photos' pixels.
"""

from __future__ import annotations

import logging
from typing import Any

from pawloop import durable
from pawloop.errors import DamagedFileError
from tasks import report
from tasks.manifest import Dataset, versions

_MOST_VERSIONS = 20


def compared(dataset: Dataset, before: Dataset | None) -> str:
    """HTML: the change against the version before, the checks, and the last versions over time."""
    parts = []
    if before is None:
        parts.append(report.paragraph("There is no version before."))
    else:
        old, new = _ids(before), _ids(dataset)
        parts.append(
            report.paragraph(
                f"{len(new - old):,} photos are new and {len(old - new):,} are gone since {before.id}."
            )
        )
    checks = log(dataset).get("checks", [])
    if checks:
        header = ["", "check", "asked", "got"]
        rows = [["passed" if c["passed"] else c["weight"], c["name"], c["asked"], c["got"]] for c in checks]
        parts.append(report.table(header, sorted(rows, key=lambda row: row[0] == "passed")))
    return "".join(parts) + _over_time(dataset)


def _over_time(dataset: Dataset) -> str:
    rows = []
    for version in versions(dataset.store, dataset.name)[-_MOST_VERSIONS:]:
        facts, checks = version.facts(), log(version).get("checks", [])
        kept = sum(sum(side.values()) for side in facts["counts"].values())
        failed = ", ".join(check["name"] for check in checks if not check["passed"]) or "none"
        rows.append([facts["created_at"][:16], version.id, kept, sum(facts["set_aside"].values()), failed])
    return report.table(["made", "version", "kept", "set aside", "checks that failed"], rows)


def _ids(dataset: Dataset) -> set[str]:
    return set(dataset.kept(["id"])["id"].to_pylist())


def log(dataset: Dataset) -> dict[str, Any]:  # Any: JSON's values
    """What validation found of a version; empty where it was never validated, or its log is damaged."""
    path = dataset.folder / "validation.json"
    try:
        return durable.read_json(path, dict, "delete it; `pawloop retrain --force` makes today's again")
    except FileNotFoundError:
        return {}
    except DamagedFileError as error:
        logging.getLogger(__name__).warning("Checks are left out: %s", error)
        return {}
