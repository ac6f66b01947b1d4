"""Whether what serves decides as its problem file says now.

Knows cards, problems and words. Knows nothing about how costs come into service.
"""

from __future__ import annotations

from pawloop.card import Card
from pawloop.problem import Problem


def old_costs(card: Card, problem: Problem) -> str | None:
    """What a version decides by and the problem file says otherwise, for a person; None where they agree.

    None also where the version knows other classes.
    """
    if set(card.classes) != set(problem.classes):
        return None
    order = [card.classes.index(name) for name in problem.classes]
    told = []
    if card.ask_cost != problem.cost.ask:
        told.append(f"ask {card.ask_cost:g}, not {problem.cost.ask:g}")
    if card.novelty_threshold not in (None, problem.cost.unfamiliar):
        told.append(f"unfamiliar {card.novelty_threshold:g}, not {problem.cost.unfamiliar:g}")
    if tuple(tuple(card.mistake_costs[a][b] for b in order) for a in order) != problem.costs.mistake:
        told.append("other costs of mistakes")
    if not told:
        return None
    return f"version {card.version} decides by other costs than the problem file names: {'; '.join(told)}"
