"""`python -m bench training`: time to accuracy, accuracy over folds, calibration, extraction, refusals.

A table of contents. Writes docs/benchmarks/training.md, of a part alone training-PART.md. Knows the order and
which photos there are; knows nothing about how anything is measured.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench import extraction, folds, machine, pooled, sprint, stages, strangers, training_report
from bench.apart import apart
from bench.folds import Labelled
from bench.pooled import Exam
from bench.reference import DEFAULT_RATE
from bench.sprint import Course
from bench.stages import Task
from bench.training_claims import Results
from pawloop import settings
from pawloop.sections import Backbone
from tasks.place import path_of
from tasks.sample import SampleSpec, write

PARTS: Final = ("sprint", "folds", "rival", "extraction")
PROBLEMS: Final = ("pets", "digits")  # of the folds
_BACKBONES: Final[tuple[Backbone, ...]] = ("efficientnet_lite0", "mobilenet_v2")
_WEIGHTS: Final = "weights/mobilenet_v2_imagenet.safetensors"
_CHOSEN_RATE: Final = 0.001  # with pets; 0.01, a tenth of the default, ended at 0.69 after six epochs
_RIVAL_RATES: Final = (0.001, 0.01)
# The hands are of 100 pixels, so that a larger input takes time and shows no more; efficientnet_lite0 gains
# nothing by a smaller one all the same (decision 8).
_SIZE: Final = {("digits", "mobilenet_v2"): 192}
# Beside this or 224; mobilenet_v2, and whoever must learn hands, needs the time for epochs.
_SIZES: Final = {("pets", "efficientnet_lite0"): (288,)}
_DRAWN: Final = SampleSpec(400)


@dataclass(frozen=True)
class Pace:
    """How long it takes. each, held: photos of a class to learn from in the sprint, and photos held out.

    epochs: of the peer, by rate. most: photos of a class in the folds. rivals: problems on whose first fold
    the peer trains, too, for ten times as long.
    """

    budget_s: float = 120.0
    each: int = 200
    held: int = 10_000
    epochs: Mapping[float, int] = field(default_factory=lambda: {DEFAULT_RATE: 1, _CHOSEN_RATE: 6})
    sprint_rounds: int = 3
    folds: tuple[int, ...] = tuple(range(folds.COUNT))
    most: int | None = None
    rivals: tuple[str, ...] = ("digits",)
    digits: int = 40
    extracted: int = 1_000
    rounds: int = 3


QUICK: Final = Pace(15.0, 40, 120, {_CHOSEN_RATE: 1}, 1, (0,), 100, (), 5, 400, 2)
_TOO_FEW: Final = "quick: too few photos and too little time for the targets, only to see that it works"


def run(
    out: Path,
    quick: bool,
    only: Sequence[str] = (),
    budget_s: float = 0,
    fold_count: int = 0,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> Results:
    """Measure, and write the page and its picture. only: some of PARTS, which make a page of their own,
    and of PROBLEMS where the folds are to be of these alone.

    budget_s: of each training. fold_count: how many of the five folds; 0 leaves it, as a budget of 0 does.
    """
    pace = QUICK if quick else Pace()
    tested = tuple(range(fold_count)) or pace.folds
    pace = replace(pace, budget_s=budget_s or pace.budget_s, folds=tested)
    began, described = time.monotonic(), machine.described()
    with TemporaryDirectory(prefix="pawloop-bench-") as place:
        bench = _Bench(Path(place), pace, settings.load().test_data.absolute(), say)
        results = bench.measure(only or PARTS)
    remarks = [
        f"`{' '.join(['python -m bench training', *sys.argv[2:]])}`",
        *described,
        f"{(time.monotonic() - began) / 60:.0f} minutes altogether; load average at the end "
        f"{machine.load():.1f}",
        f"a training may take {pace.budget_s:g} s for what comes after its first head",
        *([f"inputs in pixels: {_inputs()}"] if not only or "folds" in only else []),
        *([_TOO_FEW] if quick else []),
        *bench.missing,
    ]
    name = "-".join(["training", *(["quick"] if quick else []), *only])
    print(training_report.write(out, name, results, remarks))
    return results


def _inputs() -> str:
    own = [f"{', '.join(whom)}: {size}" for whom, size in _SIZE.items()]
    tried = [f"{', '.join(whom)}: also {', '.join(map(str, sizes))}" for whom, sizes in _SIZES.items()]
    return "; ".join([str(Task.size), *own, *tried])


@dataclass
class _Bench:
    """What all parts share while they measure. missing: what cannot be shown here, and why."""

    folder: Path
    pace: Pace
    data: Path
    say: Callable[[str], None]
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.weights = self.data / _WEIGHTS
        self.has_photos = (self.data / "pets").is_dir()
        if not self.has_photos:
            self.missing.append(
                "the real photos of PAWLOOP_TEST_DATA are not here: drawn cats and dogs instead, which any "
                "network tells apart; no hands, and no peer"
            )
        elif not self.weights.is_file():
            self.missing.append(f"{_WEIGHTS} of PAWLOOP_TEST_DATA is not here: no mobilenet_v2 and no peer")

    def measure(self, wanted: Sequence[str]) -> Results:
        """All that is wanted and can be had here."""
        results = Results()
        if "sprint" in wanted and self.has_photos and self.weights.is_file():
            self.say("time to accuracy")
            results.sprint = self._sprint()
        if "extraction" in wanted:
            results.speeds = [self._extraction(backbone) for backbone in self._backbones()]
        if "folds" in wanted:
            rivals = self.pace.rivals if "rival" in wanted else ()
            known = PROBLEMS if self.has_photos else PROBLEMS[:1]
            for problem in [one for one in known if one in wanted] or known:
                results.pooled += [self._folds(problem, one, problem in rivals) for one in self._backbones()]
        return results

    def _sprint(self) -> sprint.Sprint:
        pace = self.pace
        course = Course(
            self._task("pets", "mobilenet_v2"),
            self._photos("pets"),
            pace.each,
            pace.held,
            self.weights,
            pace.epochs,
            pace.sprint_rounds,
        )
        return sprint.run(course, self._place("sprint"), self.say)

    def _folds(self, problem: str, backbone: Backbone, is_raced: bool) -> pooled.Pooled:
        self.say(f"{problem}, {backbone}")
        others = self._others if problem == "pets" else (lambda _: {})
        is_raced = is_raced and backbone == "mobilenet_v2"  # whose weights the peer starts from
        exam = Exam(
            problem if self.has_photos else "drawn pets",
            replace(
                self._task(problem, backbone),
                size=_SIZE.get((problem, backbone), Task.size),
                sizes=_SIZES.get((problem, backbone), ()),
            ),
            self._photos(problem, self.pace.most),
            self.pace.folds,
            others,
            self.weights if is_raced else None,
            _RIVAL_RATES,
        )
        return pooled.run(exam, self._place(problem), self.say)

    def _others(self, number: int) -> dict[str, list[bytes]]:
        """Pictures of something else for a fold: other hands each time."""
        kinds = {
            "blank": strangers.blank(),
            "noise": strangers.noise(),
            "things": strangers.things(self.data),
        }
        found = {kind: list(pictures.values()) for kind, pictures in kinds.items()}
        if self.has_photos:
            hands = self._photos("digits", self.pace.digits * len(self.pace.folds))
            found["digits"] = [one.path.read_bytes() for one in hands[number :: len(self.pace.folds)]]
        return found

    def _extraction(self, backbone: Backbone) -> extraction.Speeds:
        self.say(f"extraction, {backbone}")
        photos = self._photos("pets", self.pace.extracted // 2)
        place = self._place("extraction")
        listed = folds.written(folds.few(photos, len(photos)), place / "all.csv")
        task = replace(self._task("pets", backbone), source=str(listed))
        dataset = stages.version(task, place / "store")
        extractor = apart(stages.extractor, task, dataset.store)
        chosen = [*dataset.photos("train"), *dataset.photos("validation")]
        paths = [path_of(photo.location, dataset.store) for photo in chosen]
        return extraction.measured(backbone, extractor, dataset, chosen, paths, self.pace.rounds)

    def _task(self, problem: str, backbone: Backbone) -> Task:
        classes = tuple(sorted({one.label for one in self._photos(problem)}))
        init = str(self.weights) if backbone == "mobilenet_v2" else "imagenet"
        return Task(classes, "", backbone, init, budget_s=self.pace.budget_s)

    def _photos(self, problem: str, most: int | None = None) -> list[Labelled]:
        return folds.photos(self.data / problem if self.has_photos else self._drawn(), most)

    def _drawn(self) -> Path:
        folder = self._place("drawn")
        write(folder, _DRAWN)
        return folder

    def _place(self, name: str) -> Path:
        place = self.folder / name
        place.mkdir(exist_ok=True)
        return place

    def _backbones(self) -> list[Backbone]:
        return [one for one in _BACKBONES if one != "mobilenet_v2" or self.weights.is_file()]
