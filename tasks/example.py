"""A photo to show a model with.

Knows datasets and what runs keep. Knows nothing about who asks.
"""

from __future__ import annotations

from pathlib import Path

from pawloop.card import Card
from tasks.answer import kept, load
from tasks.manifest import Dataset, Photo


def example(store: Path, card: Card) -> Photo:
    """The most familiar of the test photos that a version answers without asking a person.

    The first test photo where its run's answers are no longer there, or it asks about all.
    """
    photos = Dataset(store, card.name, card.dataset.id).photos("test")
    path = kept(store / "runs" / card.run, "float32")
    if not path.exists():
        return photos[0]
    told, columns = load(path)
    asks = told.decide(card.costs).abstained
    novelty = dict(zip(columns["photos"][~asks].tolist(), told.novelty[~asks].tolist(), strict=True))
    return min(photos, key=lambda one: novelty.get(one.id, 2.0))
