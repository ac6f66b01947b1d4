"""What of a store nobody needs any more: old versions, the networks of old runs, and what can be made again.

Knows ages and parts. Cards, outcomes and dataset versions are never among it, so what was trained and why
it was refused can still be told.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pawloop import durable, running
from pawloop.registry import Registry, Version, names
from tasks.runs import outcome_of

_RUNS = ("retrain", "tune")
_MADE_AGAIN = ("trained", "features", "extractors", "answers", "cache/fetched")


@dataclass(frozen=True)
class Old:
    """What can go.

    kind: such as "version"; name: which, for people; size: bytes. paths: what would be deleted, or version: a
    model's name and the number that its registry would remove.
    """

    kind: str
    name: str
    paths: tuple[Path, ...]
    size: int
    version: tuple[str, int] | None = None


def old(store: Path, before: datetime) -> list[Old]:
    """All that is older than `before`, and that no version with a part, no run and no person's word needs.

    Raises RegistryError where aliases, or the card of a version with a part, cannot be read.
    """
    registries = [Registry(store, name) for name in names(store)]
    needed = {version.card.run for registry in registries for version in _with_parts(registry)}
    versions = (found for registry in registries for found in _versions(registry, before))
    return [*versions, *_runs(store / "runs", before, needed), *_made_again(store, before)]


def remove(store: Path, found: Collection[Old], before: datetime) -> None:
    """Delete what was found, but what somebody has used since, and hold off retrains and searches meanwhile.

    Raises BusyError where one runs, OSError that names the path. A full disk is no hindrance.
    """
    with _undisturbed(store):
        for one in old(store, before):
            if one not in found:
                continue
            if one.version is not None:
                name, number = one.version
                Registry(store, name).remove(number)
            for path in one.paths:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def _undisturbed(store: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        for name in sorted({*names(store), *(path.name for path in (store / "datasets").glob("*/"))}):
            for what in _RUNS:
                held.enter_context(durable.lock(running.run_lock(store, name, what), ""))
        yield


def _with_parts(registry: Registry) -> list[Version]:
    parts = registry.aliases().parts.intersection(registry.numbers())
    return [registry.version(number, check=False) for number in parts]


def _versions(registry: Registry, before: datetime) -> Iterator[Old]:
    """But the newest, from whose number the next one counts, and those that a person let go of."""
    aliases, numbers = registry.aliases(), registry.numbers()
    for version in registry.each_readable():
        number = version.number
        is_needed = number in aliases.parts or number == numbers[-1] or aliases.taken_back(number)
        if not is_needed and datetime.fromisoformat(version.card.created_at) < before:
            size = _size([version.folder])
            yield Old("version", f"{registry.name} {number}", (), size, (registry.name, number))


def _runs(folder: Path, before: datetime, needed: set[str]) -> Iterator[Old]:
    """Of a run that ended all but what tells of it; one that did not would go on with what is left."""
    for run in sorted(folder.glob("*/")):
        if run.name in needed or not _is_older(run, before):
            continue
        files = [path for path in _files(run) if path.suffix != ".json"]
        paths = (run,) if outcome_of(run) == "unfinished" else tuple(files)
        if paths:
            yield Old("run", run.name, paths, _size(paths))


def _made_again(store: Path, before: datetime) -> Iterator[Old]:
    for kind in _MADE_AGAIN:
        for path in sorted((store / kind).glob("*")):
            features = store / "features" / path.stem  # which an extractor has made, and would make
            if _is_older(path, before) and (not features.exists() or _is_older(features, before)):
                yield Old(kind, path.name, (path,), _size([path]))


def _files(path: Path) -> list[Path]:
    return [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]


def _is_older(path: Path, before: datetime) -> bool:
    return max(one.stat().st_mtime for one in (path, *_files(path))) < before.timestamp()


def _size(paths: Sequence[Path]) -> int:
    return sum(file.stat().st_size for path in paths for file in _files(path))
