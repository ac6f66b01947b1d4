"""`pawloop experiments`: every candidate that was trained, listed and compared.

Knows words. What is asked is answered by `tasks.experiments`.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pawloop import problem as problems
from pawloop import settings as machine
from pawloop.newest import Limit, newest, tell_rest
from pawloop.registry import name_of
from pawloop.terminal import Json, ProblemName, bar, line, print_json, table, talk

if TYPE_CHECKING:
    from tasks.experiments import Experiment

experiments = typer.Typer(help="Every candidate that was trained: what went in, what came out.")


@experiments.command("list")
def list_experiments(
    problem: ProblemName = None,
    parquet: Annotated[
        Path | None, typer.Option(help="Also write all rows, with all columns, to this file.", dir_okay=False)
    ] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """The candidates of retrains and the trials of searches, newest first.

    Example: `pawloop experiments list --limit 0`, `pawloop experiments list --parquet runs.parquet`
    """
    from tasks.experiments import SHOWN, shown, write_parquet

    found = _found(problem)[::-1]
    if parquet and found:
        write_parquet(found, parquet)
        talk.print(f"{len(found)} rows in {parquet}", markup=False, soft_wrap=True)
    chosen = newest(found, limit, as_json=as_json)
    if as_json:
        print_json([asdict(one) for one in chosen])
        return
    rows = [list(map(_cell, shown(one).values())) for one in chosen]
    table([name.replace("_", " ") for name in SHOWN], rows, "experiments")
    tell_rest(len(found) - len(chosen))
    if not found:
        none = machine.nothing_yet("no training is on record")
        talk.print(none, markup=False, soft_wrap=True)


@experiments.command("compare")
def compare_experiments(
    runs: Annotated[list[str], typer.Argument(help="Two or more runs, or the beginnings of their names.")],
    problem: ProblemName = None,
    as_json: Json = False,
) -> None:
    """What differs between trainings: recipe, photos, code, results.

    Example: `pawloop experiments compare 20261124-2054 20261125-0300`
    """
    from tasks.experiments import compare

    if len(runs) < 2:
        raise typer.BadParameter("name two runs or more, as `pawloop experiments list` shows them")
    differences = compare(_found(problem), runs)
    if as_json:
        print_json(differences)
    elif differences:
        rows = [[name.replace("_", " "), *map(_cell, values)] for name, values in differences.items()]
        table(["", *runs], rows, "what differs")
    else:
        line("nothing differs")


@experiments.command("replay")
def replay_experiment(
    run: Annotated[str, typer.Argument(help="A judged run, or the beginning of its name.")],
    problem: ProblemName = None,
    as_json: Json = False,
) -> None:
    """Train a recorded run again and say whether the network is the same, bit for bit.

    Exit status 1 says that it is another one. Champion and registry stay as they are.

    Example: `pawloop experiments replay 20261124-205411-3fa2`
    """
    from tasks.replay import replay

    settings = machine.load()
    chosen = problems.load(problem or settings.problem)
    with bar("replay") as shown:
        told = replay(settings.store.resolve(), chosen, run, lambda _, done, total: shown(done, total))
    if as_json:
        print_json(asdict(told))
    else:
        line("the same network, bit for bit" if told.is_same else "another network")
        for one in told.differs:
            line(f"  {one}")
    if not told.is_same:
        raise typer.Exit(1)


def _found(problem: str | None) -> list[Experiment]:
    from tasks.experiments import experiments as found

    settings = machine.load()
    return found(settings.store, name_of(settings.store, problem or settings.problem))


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
