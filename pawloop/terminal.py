"""How commands speak: results to standard output, talk to standard error, pictures only on a terminal.

Knows terminals and pipes. Knows nothing about what is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

talk = Console(stderr=True, highlight=False)
out = Console(highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
ProblemName = Annotated[
    str | None,
    typer.Option("--problem", "-p", help="A name in problems/ or a path; else PAWLOOP_PROBLEM."),
]


def line(text: str) -> None:
    """One line of a result, as it is."""
    out.print(text, markup=False, soft_wrap=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str) -> None:
    """A table on a terminal, lines between tabs in a pipe; nothing where there are no rows."""
    if not rows:
        return
    if not out.is_terminal:
        for row in (columns, *rows):
            typer.echo("\t".join(map(str, row)))
        return
    drawn = Table(title=title)
    for column in columns:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*map(str, row))
    out.print(drawn)


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, nothing in a pipe; what it gives is told done and total."""
    with Progress(console=talk, transient=True, disable=not talk.is_terminal) as shown:
        one = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(one, completed=done, total=total)
