"""Of a long list the newest rows, and a line about the rest.

Knows how many. Knows nothing about what is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, TypeVar

import typer

from pawloop.terminal import talk

Row = TypeVar("Row")

_MOST: Final = 20

Limit = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="How many of the newest, 0 for all.",
        show_default=f"{_MOST}, and all with --json",
    ),
]


def newest(rows: Sequence[Row], limit: int | None, *, as_json: bool) -> Sequence[Row]:
    """The first of rows that stand newest first.

    limit: how many, 0 for all; None, where nobody said, for as many as fit on a page, or all as JSON.
    """
    most = (0 if as_json else _MOST) if limit is None else limit
    return rows[:most] if most else rows


def tell_rest(count: int) -> None:
    """Say how many older rows are not shown, and how to see them."""
    if count:
        talk.print(f"and {count:,} older; --limit 0 lists all", markup=False, soft_wrap=True)
