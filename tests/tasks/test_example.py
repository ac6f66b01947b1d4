"""A photo that shows a model at work."""

from __future__ import annotations

from pathlib import Path

from tasks.answer import kept, load
from tasks.example import example
from tests import published
from tests.tasks import small


def test_it_is_a_test_photo_that_is_answered_or_the_first(tmp_path: Path) -> None:
    about = small.problem(tmp_path / "photos")
    candidate, dataset, judged = small.judged(about, tmp_path / "store")
    run = candidate.folder.parent
    version = published.publish(tmp_path / "store", about.name)
    card = version.card.model_copy(
        update={"run": run.name, "dataset": version.card.dataset.model_copy(update={"id": dataset.id})}
    )
    chosen = example(dataset.store, card)
    told, columns = load(judged.path)
    row = columns["photos"].tolist().index(chosen.id)
    assert not told.decide(card.costs).abstained[row]
    kept(run, "float32").unlink()
    assert example(dataset.store, card) == dataset.photos("test")[0]
