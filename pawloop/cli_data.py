"""`pawloop data`: the versions of a problem's photos, what changed, what was set aside, and taking them out.

Knows words. What is asked of a version is answered by `tasks.browse`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pawloop import problem as problems
from pawloop import settings as machine
from pawloop.errors import DatasetError
from pawloop.newest import Limit, newest, tell_rest
from pawloop.paths import expanded
from pawloop.terminal import Json, ProblemName, bar, line, print_json, table, talk

if TYPE_CHECKING:
    from tasks.browse import Doubt, Summary
    from tasks.manifest import Dataset

_MOST_NAMED: Final = 20  # photos that are named one by one

data = typer.Typer(help="Dataset versions: what there is, what changed, what was set aside and why.")

Version = Annotated[str | None, typer.Argument(help="Its id or the beginning of it; else the newest.")]


@data.command("list")
def list_versions(
    problem: ProblemName = None,
    photo: Annotated[str, typer.Option(help="Only those that hold this photo, a file or an id.")] = "",
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """The versions of a problem's photos, newest first, with the models that learned from them.

    Example: `pawloop data list --limit 0`, `pawloop data list --photo kitten.jpg`
    """
    from tasks import browse

    store, name = _place(problem)
    found = browse.summaries(store, name)[::-1]
    if photo:
        holders = set(browse.holding(store, name, _photo_id(photo)))
        found = [one for one in found if one.id in holders]
    chosen = newest(found, limit, as_json=as_json)
    if as_json:
        print_json([_facts(one) for one in chosen])
        return
    rows = [
        [one.id, f"{one.created_at:%Y-%m-%d %H:%M}", one.kept, sum(one.set_aside.values()), _models(one)]
        for one in chosen
    ]
    table(["version", "made", "kept", "set aside", "models"], rows, name)
    tell_rest(len(found) - len(chosen))
    if not found:
        none = f"{name}: no version holds the photo {photo}" if photo else _none(name)
        talk.print(none, markup=False, soft_wrap=True)


@data.command("show")
def show(
    version: Version = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read every photo and name those that changed.")
    ] = False,
    problem: ProblemName = None,
    as_json: Json = False,
) -> None:
    """A version: its photos, sources and checks, the models that learned from it, and labels held for wrong.

    Example: `pawloop data show`, `pawloop data show 3fa2 --check`
    """
    from tasks import browse

    dataset = _version(version, problem)
    told, failed = browse.summary(dataset), browse.failed_checks(dataset)
    doubts = browse.doubts(dataset)
    gone: list[str] = []
    if check:
        with bar("Reading photos") as tell:
            gone = browse.changed(dataset, tell)
    if as_json:
        doubted = [asdict(one) for one in doubts]
        facts = {**_facts(told), "failed_checks": failed, "doubted": doubted, "changed": gone}
        print_json(facts)
    else:
        _show(dataset, told, failed)
        _doubt(doubts)
    for one in gone:
        talk.print(one, style="red", markup=False, soft_wrap=True)
    if gone:
        sys.exit(1)


@data.command("diff")
def diff(
    a: Annotated[str | None, typer.Argument(help="The older version; else the last but one.")] = None,
    b: Version = None,
    problem: ProblemName = None,
    as_json: Json = False,
) -> None:
    """What came, what went and what changed its class from version A to version B.

    Example: `pawloop data diff 3fa2 91bc`
    """
    from tasks import browse

    old, new = _version(a, problem, place=-2), _version(b, problem)
    change = browse.difference(old, new)
    if as_json:
        print_json({"from": old.id, "to": new.id, **asdict(change)})
        return
    labels = sorted({*change.added, *change.removed})
    rows = [[label, f"+{change.added.get(label, 0)}", f"-{change.removed.get(label, 0)}"] for label in labels]
    table(["class", "came", "went"], rows, f"{old.id} to {new.id}")
    moved = Counter((before, after) for _, before, after in change.relabelled)
    for (before, after), count in moved.most_common():
        line(f"{count} photos: {before} became {after}")
    for photo, before, after in change.relabelled[:_MOST_NAMED]:
        line(f"  {photo}: {before} became {after}")
    _count_rest(change.relabelled)
    if change.rules_changed:
        line("the rules of curation changed")
    if not (rows or change.relabelled):
        line("the same photos")


@data.command("quarantine")
def quarantine(
    version: Version = None,
    verdict: Annotated[str, typer.Option(help='Only these, such as "near duplicate".')] = "",
    problem: ProblemName = None,
    as_json: Json = False,
) -> None:
    """The files that were set aside, each with its reason. Nothing was deleted.

    Example: `pawloop data quarantine --verdict "near duplicate"`
    """
    from tasks import browse

    dataset = _version(version, problem)
    found = list(browse.quarantine(dataset, verdict or None))
    if verdict and not found:
        there = ", ".join(sorted({one.verdict for one in browse.quarantine(dataset)})) or "none"
        talk.print(f"no file was set aside as {verdict!r}; verdicts there are: {there}", markup=False)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        line(f"{one.verdict}: {one.name} ({one.source}): {one.why}")
    talk.print(f"{len(found)} files set aside")


@data.command("export")
def export(
    folder: Annotated[Path, typer.Argument(help="An empty or a new folder.")],
    version: Annotated[str | None, typer.Option(help="Its id or its beginning; else the newest.")] = None,
    by_side: Annotated[bool, typer.Option(help="Below train, validation and test.")] = False,
    problem: ProblemName = None,
    as_json: Json = False,
) -> None:
    """Copy a version's photos into a folder per class, which any other tool reads.

    Example: `pawloop data export ~/pets --by-side`
    """
    from tasks.take_out import take_out

    dataset = _version(version, problem)
    with bar("Copying photos") as tell:
        count = take_out(dataset, folder, tell, by_side=by_side)
    if as_json:
        print_json({"version": dataset.id, "photos": count, "folder": str(folder)})
    else:
        line(f"{count} photos of {dataset.id} in {folder}")


def _none(name: str) -> str:
    return machine.nothing_yet(f"{name} has no versions yet")


def _place(problem: str | None) -> tuple[Path, str]:
    """Store and problem name; a name that the store knows needs no problem file."""
    settings = machine.load()
    known = [path.name for path in (settings.store / "datasets").glob("*/")]
    return settings.store.resolve(), problems.name_of(problem or settings.problem, known)


def _version(asked: str | None, problem: str | None, place: int = -1) -> Dataset:
    """The version whose id begins as asked, checked; place: which one where none is asked for."""
    from tasks.manifest import Dataset, versions

    store, name = _place(problem)
    known = [one.id for one in versions(store, name)]
    fits = known[place:][:1] if asked is None and len(known) >= -place else []
    if asked:
        fits = [id for id in known if id == asked] or [id for id in known if id.startswith(asked)]
    if len(fits) == 1:
        return Dataset.open(store, name, fits[0])
    if not known:
        raise DatasetError(_none(name))
    if not asked:
        raise DatasetError(f"{name}: {known[0]} is the only version; other photos and a retrain make another")
    why = f"begins {len(fits)} ids; write more of it" if fits else f"is not there (known: {', '.join(known)})"
    raise DatasetError(f'{name}: version "{asked}" {why}')


def _photo_id(photo: str) -> str:
    from pawloop.image import photo_id

    path = expanded(photo)
    return photo_id(path.read_bytes()) if path.is_file() else photo


def _facts(told: Summary) -> dict[str, Any]:  # Any: JSON's values
    return {**asdict(told), "created_at": told.created_at.isoformat(), "kept": told.kept}


def _models(told: Summary) -> str:
    return ", ".join(f"{number} ({part})" if part else str(number) for number, part in told.models.items())


def _show(dataset: Dataset, told: Summary, failed: Sequence[str]) -> None:
    counts = dataset.counts()
    rows = [[label, *(counts[side][label] for side in counts), all] for label, all in told.counts.items()]
    table(["class", *counts, "all"], rows, f"{dataset.name} {told.id}")
    for what, said in (
        ("made", f"{told.created_at:%Y-%m-%d %H:%M}"),
        ("sources", ", ".join(told.sources)),
        ("set aside", ", ".join(f"{count} {verdict}" for verdict, count in told.set_aside.items())),
        ("models", _models(told)),
        ("report", str(dataset.folder / "report.html")),
    ):
        line(f"{what}: {said or 'none'}")
    for check in failed:
        line(f"failed: {check}")
    for note in told.notes:
        line(f"note: {note}")


def _doubt(doubts: Sequence[Doubt]) -> None:
    if doubts:
        line(f"labels held for wrong: {len(doubts)}; move what is wrong into its right folder")
    for one in doubts[:_MOST_NAMED]:
        line(f"  {one.name}: labelled {one.label}, looks like {one.likely}")
    _count_rest(doubts)


def _count_rest(photos: Sequence[object]) -> None:
    if len(photos) > _MOST_NAMED:
        line(f"  and {len(photos) - _MOST_NAMED} more (--json lists all)")
