"""Where a file fails and why: harmed photos and occlusion maps, by a file that sees mean colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from pawloop.errors import ExportError
from pawloop.image import Resize
from tasks import plots, robustness
from tasks.candidate import Candidate
from tasks.manifest import Dataset
from tasks.mistakes import worst
from tasks.occlusion import occlusions
from tasks.variants import Judged, judge
from tasks.weigh import in_turn, weigh
from tests import published
from tests.tasks import albums, small

Trial = tuple[Candidate, Dataset, Judged]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    folder = tmp_path_factory.mktemp("small")
    return small.judged(small.problem(folder / "photos"), folder / "store")


@pytest.mark.parametrize("kind", robustness._KINDS)
def test_a_stronger_harm_changes_more_and_none_changes_the_size(kind: str) -> None:
    harm, strengths, _, unharmed = robustness._KINDS[kind]
    image = np.asarray(albums.picture(3, (224, 224)))
    ordered = sorted(strengths, key=lambda strength: abs(strength - unharmed))
    changed = [np.abs(harm(image, one).astype(int) - image).mean() for one in ordered]
    assert len(strengths) == 5
    assert harm(image, strengths[0]).shape == image.shape
    assert 0 < changed[0] < changed[-1]


def test_robustness_is_told_for_five_strengths_of_five_harms(trial: Trial) -> None:
    found = trial[2].robustness
    assert found is not None
    assert found.photos == len(trial[1].photos("test")[:24])
    assert [len(kind.strengths) for kind in found.kinds] == [5] * 5
    # A mean colour stays when a photo is blurred or turned, and goes when all is dark.
    accuracies = {kind.name: [one.accuracy for one in kind.strengths] for kind in found.kinds}
    assert accuracies["blur"] == [found.clean.accuracy] * 5
    assert accuracies["noise"][0] == found.clean.accuracy
    assert len(plots.robustness(found)) < 40_000


def test_without_photos_nothing_is_harmed(tmp_path: Path) -> None:
    about = small.problem(tmp_path / "photos", evaluate={"robustness_photos": 0, "occlusion_photos": 0})
    _, _, judged = small.judged(about, tmp_path / "store")
    assert judged.robustness is None
    assert judged.occlusions == []
    assert "robustness" not in judged.metrics()


def test_a_map_is_brightest_where_the_answer_came_from(trial: Trial, tmp_path: Path) -> None:
    candidate, dataset, judged = trial
    [row] = worst(judged.answers(), judged.answers().labels, judged.labels(), 1)
    photo = dataset.photos("test")[row]
    pixels = np.full((64, 64, 3), (60, 60, 62), np.uint8)
    pixels[:24, :24] = (250, 0, 0)  # the only red: all that says cat
    content = published.encoded(pixels)
    there = Candidate(candidate.folder, Resize(published.SIZE, crop=1.0), 0.0)
    shown = _Shown(dataset.store, dataset.name, dataset.id)
    shown.contents[photo.id] = content

    [found] = occlusions(there, shown, [row])

    assert found.label == 0
    assert np.unravel_index(found.drop.argmax(), found.drop.shape) <= (1, 1)
    assert found.drop[4:, 4:].max() < found.drop.max() / 4


class _Shown(Dataset):
    """A dataset of which some photos are replaced."""

    contents: dict[str, bytes] = {}  # noqa: RUF012  (of one test)

    def read(self, photo: object) -> bytes:
        return self.contents[photo.id]  # type: ignore[attr-defined]  # a Photo


def test_the_worst_mistakes_are_explained(trial: Trial) -> None:
    _, _, judged = trial
    rows = worst(judged.answers(), judged.answers().labels, judged.labels(), 4)
    assert [one.row for one in judged.occlusions] == rows
    assert rows


def test_a_file_whose_answers_are_not_numbers_is_told(trial: Trial, tmp_path: Path) -> None:
    candidate, dataset, _ = trial
    folder = tmp_path / "run" / "candidate"
    folder.mkdir(parents=True)
    onnx.save(published.graph(sharpness=float("nan")), str(folder / "model.onnx"))
    broken = Candidate(folder, candidate.rule, 0.0)
    about = small.problem(tmp_path / "photos")
    with pytest.raises(ExportError, match="not numbers"):
        judge(broken, {"float32": small.variant()}, dataset, about, lambda *_: None)


def test_files_are_timed_in_turn_and_weighed(trial: Trial) -> None:
    model = trial[0].model("float32")
    one, other = in_turn([model, model], rounds=50)
    assert 0.4 < one / other < 2.5
    facts = weigh(trial[0], model)
    assert facts.megabytes == model.stat().st_size / 1e6
    assert facts.latency_ms
    assert weigh(trial[0], None).latency_ms is None
