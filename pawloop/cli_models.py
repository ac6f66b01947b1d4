"""`pawloop models`: who serves, who served, what each version is, and changing that by hand.

Knows words. What is asked of a version is answered by the registry.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pawloop import settings as machine
from pawloop.aliases import Aliases
from pawloop.errors import DamagedVersionError, RegistryError
from pawloop.newest import Limit, newest, tell_rest
from pawloop.registry import Registry, Version, name_of
from pawloop.terminal import Json, ProblemName, out, print_json, table, talk

models = typer.Typer(help="The registry of model versions: who serves, who served, what each is.")


@models.command("list")
def list_models(problem: ProblemName = None, limit: Limit = None, as_json: Json = False) -> None:
    """The versions of a problem's model, newest first.

    Example: `pawloop models list`, `pawloop models list --limit 0`
    """
    registry = _registry(problem)
    registry.repair()
    aliases = registry.aliases()
    rows = []
    numbers = registry.numbers()[::-1]
    chosen = newest(numbers, limit, as_json=as_json)
    for number in chosen:
        try:
            rows.append(_facts(registry.version(number, check=False), aliases))
        except DamagedVersionError as error:
            told = f"version {number} is not listed: {error}"
            talk.print(told, style="red", markup=False, soft_wrap=True)
    if as_json:
        print_json(rows)
        return
    if rows:
        cells = [[f"{v:.4f}" if isinstance(v, float) else v for v in row.values()] for row in rows]
        table([name.replace("_", " ") for name in rows[0]], cells, registry.name)
    tell_rest(len(numbers) - len(chosen))
    if not numbers:
        what = f"{registry.name} has no versions yet"
        talk.print(machine.nothing_yet(what), markup=False, soft_wrap=True)


@models.command("show")
def show_model(
    version: Annotated[int | None, typer.Argument(help="Its number; else the champion.")] = None,
    problem: ProblemName = None,
    as_json: Json = False,
) -> None:
    """A version's model card.

    Example: `pawloop models show 3`
    """
    registry = _registry(problem)
    found = registry.champion() if version is None else registry.version(version)
    if found is None:
        raise RegistryError(machine.nothing_yet(f"{registry.name} has no champion yet"))
    if as_json:
        shadow = found.shadow and found.shadow.model_dump()
        later = {"shadow": shadow, "overruled": found.overruled}
        print_json({**found.card.model_dump(mode="json"), **later})
    else:
        from rich.markdown import Markdown

        from tasks.cardtext import shadow_markdown

        text = (found.folder / "card.md").read_text(encoding="utf-8")
        overruled = f"\n\nPromoted by a person all the same: {found.overruled}" if found.overruled else ""
        whole = text + shadow_markdown(found.shadow) + overruled
        out.print(Markdown(whole)) if sys.stdout.isatty() else typer.echo(whole)


@models.command("promote")
def promote_model(
    what: Annotated[str, typer.Argument(help="A version's number, or the run of a refused challenger.")],
    problem: ProblemName = None,
    despite: Annotated[
        str | None, typer.Option(help="Why a verdict against it is overruled; kept with its card.")
    ] = None,
) -> None:
    """Make a version champion by hand; the running server takes it within a second.

    Example: `pawloop models promote 20261124-205411-3fa2 --despite "checked by eye"`
    """
    from tasks.release import promote_by_hand

    registry = _registry(problem)
    version = promote_by_hand(machine.load().store, registry, what, despite)
    out.print(f"{registry.name} version {version.number} is champion")


@models.command("rollback")
def rollback_model(
    problem: ProblemName = None,
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "rolled back by hand",
) -> None:
    """Champion and previous change places.

    Example: `pawloop models rollback --reason "wrong on night photos"`
    """
    registry = _registry(problem)
    aliases = registry.rollback(reason)
    out.print(f"{registry.name} version {aliases.champion} is champion again")


def _facts(version: Version, aliases: Aliases) -> dict[str, object]:
    parts = {aliases.previous: "previous", aliases.challenger: "challenger", aliases.champion: "champion"}
    card, rejected = version.card, "rejected" if version.rejection else ""
    shadow = version.shadow
    return {
        "version": version.number,
        "part": parts.get(version.number, rejected),
        "shadow": shadow.outcome if shadow else "",
        "accuracy": card.metrics["float32"]["accuracy"],
        "expected_cost": card.metrics["float32"]["expected_cost"],
        "backbone": card.backbone,
        "made": card.created_at,
        "run": card.run,
    }


def _registry(problem: str | None) -> Registry:
    settings = machine.load()
    return Registry(settings.store, name_of(settings.store, problem or settings.problem))
