"""The promise itself, on real photos: cats and dogs told apart, hands, a cup and a rocket refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import folds, stages, strangers
from bench.stages import Task
from pawloop import settings
from tasks.manifest import labels_of

PHOTOS = settings.load().test_data.absolute()
LEARNT_FROM, IN_ALL = 150, 250  # of each class


@pytest.mark.skipif(not (PHOTOS / "pets").is_dir(), reason=f"{PHOTOS}/pets is not there (PAWLOOP_TEST_DATA)")
def test_a_few_hundred_photos_make_a_model_that_knows_cats_dogs_and_its_limits(tmp_path: Path) -> None:
    dealt = folds.photos(PHOTOS / "pets", IN_ALL)
    listed = folds.written(folds.few(dealt, LEARNT_FROM), tmp_path / "pets.csv")
    task = Task(("cat", "dog"), str(listed), "efficientnet_lite0", fine_tune="never")
    dataset = stages.version(task, tmp_path / "store")
    made = stages.released(task, stages.learn(task, dataset), dataset, tmp_path / "run")
    unseen = dataset.photos("test")
    told = stages.asked(task, made, dataset, unseen)
    assert (told.labels == labels_of(unseen, task.classes)).mean() >= 0.95
    assert (told.novelty > told.threshold).mean() <= 0.06
    hands = [one.path.read_bytes() for one in folds.photos(PHOTOS / "digits", 5)]
    assert strangers.refused(made, hands, told.threshold).mean() >= 0.9
    things = strangers.things(PHOTOS)
    cup_and_rocket = [things["coffee.png"], things["rocket.jpg"]]
    assert strangers.refused(made, cup_and_rocket, told.threshold).all()
