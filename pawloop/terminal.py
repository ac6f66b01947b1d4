"""How commands speak: results to standard output, talk to standard error, pictures only on a terminal.

Knows terminals and pipes. Knows nothing about what is said.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from pawloop.printable import printable, printable_lines


class _Console(Console):
    """Prints text without what would command a terminal, since names of files may hold it."""

    def print(self, *objects: Any, **options: Any) -> None:  # Any: as Console has it
        super().print(*(printable_lines(o) if isinstance(o, str) else o for o in objects), **options)


talk = _Console(stderr=True, highlight=False, emoji=False)
out = _Console(highlight=False, emoji=False)
_TO_COPY = ("run", "version", "id")  # what other commands ask for stands whole, however narrow the terminal

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
ProblemName = Annotated[
    str | None,
    typer.Option("--problem", "-p", help="A name in problems/ or a path; else PAWLOOP_PROBLEM."),
]


def line(text: str) -> None:
    """One line of a result, as it is."""
    out.print(text, markup=False, soft_wrap=True)


def print_json(value: object, indent: int | None = 2) -> None:
    """A result as JSON, and nothing else, whatever the terminal; on one line without `indent`."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    say = line if sys.stdout.isatty() else typer.echo
    say(text)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str) -> None:
    """A table on a terminal, lines between tabs in a pipe; nothing where there are no rows."""
    if not rows:
        return
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            typer.echo("\t".join(printable(str(cell)) for cell in row))
        return
    drawn = Table(title=Text(title))
    for column in columns:
        drawn.add_column(Text(column), no_wrap=column in _TO_COPY, overflow="fold")
    for row in rows:
        # a class may be called "[red]", which is markup
        drawn.add_row(*(Text(printable_lines(str(cell))) for cell in row))
    out.print(drawn)


@contextmanager
def bar(title: str, *, beside_results: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, nothing in a pipe; what it gives is told done and total.

    beside_results: results are printed meanwhile; on a terminal the bar stays below them.
    """
    is_below = beside_results and sys.stdout.isatty()
    console, is_hidden = (out, False) if is_below else (talk, not sys.stderr.isatty())
    # Or errors that somebody sends into a file would come to the terminal.
    takes_errors = sys.stderr.isatty()
    with Progress(console=console, transient=True, disable=is_hidden, redirect_stderr=takes_errors) as shown:
        one = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(one, completed=done, total=total)
