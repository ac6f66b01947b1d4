"""`python -m bench [server|data|training]`: everything, or one part of it, into docs/benchmarks/."""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

_OUT: Final = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


class Part(StrEnum):
    """What can be measured."""

    SERVER = "server"
    DATA = "data"
    TRAINING = "training"


def main(
    part: Annotated[Part | None, typer.Argument(help="Which bench; all of them without a word.")] = None,
    quick: Annotated[bool, typer.Option(help="Short and rough, to see that it works.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the pages and pictures.")] = _OUT,
    only: Annotated[
        list[str] | None, typer.Option(help="Of the server's or training's, these parts alone.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of the server's bench; 0 leaves it.")] = 0,
    seconds: Annotated[float, typer.Option(min=0, help="Of each of its measurements; 0 leaves it.")] = 0,
    share: Annotated[float, typer.Option(min=0, help="Part of its long trials; 0 leaves them.")] = 0,
    budget: Annotated[float, typer.Option(min=0, help="Seconds of each training; 0 leaves it.")] = 0,
    folds: Annotated[int, typer.Option(min=0, max=5, help="Folds of training's bench; 0 leaves it.")] = 0,
) -> None:
    """Measure, and write what was found.

    Example: python -m bench server --quick
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    for one in [part] if part else list(Part):
        if importlib.util.find_spec(f"bench.{one}") is None:
            typer.echo(f"there is no bench of {one} yet", err=True)
        elif one is Part.SERVER:
            _server(out, quick, only or [], rounds, seconds, share)
        elif one is Part.TRAINING:
            _training(out, quick, only or [], budget, folds)
        else:
            importlib.import_module(f"bench.{one}").run(out, quick)


def _server(out: Path, quick: bool, only: list[str], rounds: int, seconds: float, share: float) -> None:
    from dataclasses import replace

    from bench import server

    unknown = set(only) - set(server.PARTS)
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: of the server there are {', '.join(server.PARTS)}")
    pace = server.QUICK if quick else server.Pace()
    pace = replace(pace, rounds=rounds or pace.rounds, seconds=seconds or pace.seconds)
    pace = pace.shortened(share) if share else pace
    server.run(out, quick, only, pace, lambda line: typer.echo(line, err=True))


def _training(out: Path, quick: bool, only: list[str], budget_s: float, fold_count: int) -> None:
    from bench import training

    known = (*training.PARTS, *training.PROBLEMS)
    unknown = set(only) - set(known)
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: of training there are {', '.join(known)}")
    if "folds" not in only and {"rival", *training.PROBLEMS} & set(only):
        raise typer.BadParameter("these are of the folds: --only folds --only rival --only digits")
    training.run(out, quick, only, budget_s, fold_count, lambda line: typer.echo(line, err=True))


if __name__ == "__main__":
    typer.run(main)
