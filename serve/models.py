"""`GET /model` and `GET /models`: the card in service, and the versions there are.

Reads the registry as it is at the time of the call. Knows nothing about how models are served.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from pawloop import durable
from pawloop.aliases import Aliases
from pawloop.card import Card, Precision
from pawloop.errors import RegistryError
from pawloop.registry import Registry
from pawloop.session import Provider
from serve import problems, state

_READ: Final = ("card.json", "rejected.json")

router = APIRouter(tags=["models"], responses=problems.responses(401, 503))


class InService(Card):
    """The card of the model in service, which of its variants answers, and through what.

    overruled: why a person promoted it despite what was found, or null.
    """

    precision: Precision
    provider: Provider
    overruled: str | None


class Listed(BaseModel):
    """One version in short. damaged: why its card cannot be read; all else is then empty."""

    version: int
    aliases: list[str] = Field(examples=[["champion"]])
    is_serving: bool
    created_at: str | None = None
    backbone: str | None = None
    dataset: str | None = None
    metrics: dict[str, dict[str, float]] = Field({}, examples=[{"float32": {"accuracy": 0.98}}])
    rejected: str | None = None
    damaged: str | None = None


class Versions(BaseModel):
    """All versions of a model, the newest first."""

    name: str
    versions: list[Listed]


@router.get("/model")
def model(request: Request) -> InService:
    """The card of the model in service: data, recipe, metrics, the gate's verdict, limits.

    curl http://127.0.0.1:8000/model
    """
    serving = state.of(request).engine.serving
    version = serving.version
    return InService(
        **dict(version.card),
        precision=serving.precision,
        provider=serving.provider,
        overruled=version.overruled,
    )


@router.get("/models")
def models(request: Request) -> Versions:
    """Every version in the registry, with its part (champion, previous, challenger) and key metrics.

    curl http://127.0.0.1:8000/models
    """
    live = state.of(request)
    aliases = live.registry.aliases()
    serving = live.engine.serving.number if live.engine.has_model else None
    numbers = sorted(live.registry.numbers(), reverse=True)
    listed = [_listed(live, number, aliases, number == serving) for number in numbers]
    return Versions(name=live.registry.name, versions=listed)


def _listed(live: state.Live, number: int, aliases: Aliases, is_serving: bool) -> Listed:
    parts = [part for part in ("champion", "previous", "challenger") if getattr(aliases, part) == number]
    folder = live.registry.folder / str(number)
    stamps = [durable.stamp(folder / name) for name in _READ]
    if live.listed.get(number, (None,))[0] != stamps:  # cards of many classes take long to read
        try:
            live.listed[number] = stamps, _told(live.registry, number)
        except RegistryError as error:
            return Listed(version=number, aliases=parts, is_serving=is_serving, damaged=str(error))
    told: Listed = live.listed[number][1]
    return told.model_copy(update={"aliases": parts, "is_serving": is_serving})


def _told(registry: Registry, number: int) -> Listed:
    """What a version's own files say of it."""
    version = registry.version(number, check=False)
    card = version.card
    return Listed(
        version=number,
        aliases=[],
        is_serving=False,
        created_at=card.created_at,
        backbone=card.backbone,
        dataset=card.dataset.id,
        metrics={precision: _numbers(metrics) for precision, metrics in card.metrics.items()},
        rejected=version.rejection,
    )


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:  # Any: as in the card
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
