"""Who plays which part among a model's versions, and how that came: what `aliases.json` holds.

Knows numbers of versions and moves. Knows nothing about files or what a version is.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Mover = Literal["run", "person"]


class Move(BaseModel):
    """One change of the champion, as `aliases.json` remembers it.

    anchor: which version it was until then. by: who decided it; older files do not say.
    """

    model_config = ConfigDict(frozen=True)

    at: str
    champion: int | None
    before: int | None
    reason: str
    anchor: int | None = None
    by: Mover | None = None


class Aliases(BaseModel):
    """Which version plays which part. serial: counts the changes, for compare-and-swap.

    anchor: the best version so far, against which a challenger is judged besides the champion.
    """

    model_config = ConfigDict(frozen=True)

    champion: int | None = None
    previous: int | None = None
    challenger: int | None = None
    anchor: int | None = None
    serial: int = 0
    history: list[Move] = []

    @property
    def highest(self) -> int:
        """The highest number that was ever champion or has a part; 0 where there is none."""
        return max([0, *self.parts, *(move.champion or 0 for move in self.history)])

    @property
    def parts(self) -> frozenset[int]:
        """The versions that play one."""
        named = (self.champion, self.previous, self.challenger, self.anchor)
        return frozenset(number for number in named if number is not None)

    def taken_back(self, number: int) -> Move | None:
        """The move by which a person last let a version that was champion give way to an older one."""
        last = next((move for move in reversed(self.history) if move.before == number), None)
        if last is None or last.by == "run":
            return None
        return last if last.champion is None or last.champion < number else None
