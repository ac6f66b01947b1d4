"""What a journal holds: its tables, and their rows as we say them.

Knows SQL's types. Knows nothing about databases, or what is learned from any of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    literal,
    text,
)

Why = Literal["audit", "uncertain", "novel", "correction", "import"]
Part = Literal["champion", "challenger"]

TAKEN_BACK: Final = ""  # in the place of a label: the person's earlier word on the answer counts no more

METADATA: Final = MetaData()
PREDICTIONS: Final = Table(
    "predictions",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, index=True),
    Column("photo_id", String(64), nullable=False, index=True),
    Column("part", String(16), primary_key=True),
    Column("model", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("precision", String(16), nullable=False),
    Column("label", String, nullable=False),
    Column("probabilities", JSON, nullable=False),
    Column("reason", String(16)),
    Column("latency_ms", Float, nullable=False),
    Column("is_kept", Boolean, nullable=False),
)
# SQLite takes an index of some rows only where the query says which in the very same words.
CHALLENGER: Final = literal("challenger", literal_execute=True)
_is_challengers = PREDICTIONS.c.part == CHALLENGER
Index(
    "ix_predictions_challenger", PREDICTIONS.c.model, PREDICTIONS.c.version, PREDICTIONS.c.at,
    sqlite_where=_is_challengers, postgresql_where=_is_challengers,
)  # fmt: skip
Index(
    "ix_predictions_kept", PREDICTIONS.c.is_kept, PREDICTIONS.c.at, PREDICTIONS.c.photo_id,
    sqlite_where=text("is_kept = 1"), postgresql_where=PREDICTIONS.c.is_kept,
)  # fmt: skip
# No foreign key: a person may be faster than the batch that holds the prediction.
LABELS: Final = Table(
    "labels",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("prediction_id", String(36), nullable=False, index=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("label", String, nullable=False),
    Column("why", String(16), nullable=False),
    Column("inclusion", Float),
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer of one model. part: what the model was; a challenger's answers were shown to nobody.

    probabilities: by class. reason: why a person was asked, or None. is_kept: whether the photo's bytes
    are in the folder of kept photos.
    """

    id: str
    at: datetime
    photo_id: str
    part: Part
    model: str
    version: int
    precision: str
    label: str
    probabilities: dict[str, float]
    reason: str | None
    latency_ms: float
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Label:
    """What a person says is on a photo. inclusion: how likely it was that this photo was asked about.

    label: a class, or TAKEN_BACK.
    Only `audit` photos were drawn by chance, so they alone may judge a model; the others only teach.
    """

    prediction_id: str
    at: datetime
    label: str
    why: Why
    inclusion: float | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A photo that somebody was given an answer to, and the last word of a person about it.

    is_kept: whether the photo's bytes were kept with this answer. The answer itself is many times as large.
    """

    photo_id: str
    is_kept: bool
    label: Label


@dataclass(frozen=True, slots=True)
class Outdated:
    """Old answers. ids: of those about photos that nobody labelled. photo_ids: of those, what no other keeps.

    last: when the last that was looked at was given, labelled or not; None where there are no more.
    """

    ids: list[str]
    photo_ids: list[str]
    last: datetime | None


@dataclass(frozen=True, slots=True)
class Paired:
    """A photo as two models answered it, and the last word of a person about it, or None."""

    champion: Prediction
    challenger: Prediction
    label: Label | None


def by_photo(found: Iterable[Labelled]) -> list[Labelled]:
    """Of each photo the newest label, whichever answer it is about; `found` is the oldest first.

    It is `audit` only where all of them were, and its bytes are there if any answer kept them.
    """
    newest: dict[str, Labelled] = {}
    for one in found:
        before = newest.get(one.photo_id, one)
        why = one.label.why if before.label.why == "audit" else before.label.why
        is_kept = one.is_kept or before.is_kept
        newest[one.photo_id] = Labelled(one.photo_id, is_kept, replace(one.label, why=why))
    return list(newest.values())
