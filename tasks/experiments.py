"""Every candidate that was trained, as rows that can be compared.

Reads the cards that runs leave behind, the stories of trainings and the records of searches' trials. Knows
runs and recipes; knows nothing about how they are shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from pawloop import durable
from pawloop.errors import DamagedFileError, RegistryError
from pawloop.registry import read_card
from tasks.provenance import origin
from tasks.runs import outcome_of

if TYPE_CHECKING:
    from pawloop.card import Card
    from tasks.manifest import Dataset

log = logging.getLogger(__name__)

SHOWN = (
    "run",
    "backbone",
    "image_size",
    "crop_mode",
    "chosen",
    "rate",
    "epochs",
    "seed",
    "validation_log_loss",
    "accuracy",
    "expected_cost",
    "seconds",
    "outcome",
)


@dataclass(frozen=True)
class Experiment:
    """One candidate: what it was made from, what it gave, what became of it.

    run: the retrain, with "-1" and so on for the candidates that were not chosen, or the search and the
    number of its trial. weights_sha256: of the file that its backbone began from. chosen: frozen, with l2 of
    its head, or fine-tuned. accuracy, expected_cost, log_loss: of the float32 file on test photos, where it
    was judged. seconds: of its training. outcome: the last verdict, "unfinished" of a run that goes on
    or was killed, "not judged" of one that trained but never reached the gate, "not chosen", or of a search's
    trial "searched", "pruned" or "failed"; error: why it failed.
    """

    run: str
    made: str
    backbone: str
    image_size: int
    crop_mode: str
    weights_sha256: str | None
    chosen: str
    l2: float | None
    rate: float | None
    decay: float | None
    smoothing: float | None
    weight_decay: float | None
    precision: str | None
    device: str | None
    views: int
    epochs: int
    seed: int
    dataset: str
    code: str
    validation_accuracy: float | None
    validation_log_loss: float | None
    validation_losses: list[float]
    train_losses: list[float]
    accuracy: float | None
    expected_cost: float | None
    log_loss: float | None
    seconds: float | None
    machine: str
    outcome: str
    error: str


# Said outright: of a column that holds nothing but None, Arrow cannot tell the type.
_TYPES = {
    str: pa.string(),
    str | None: pa.string(),
    int: pa.int64(),
    float | None: pa.float64(),
    list[float]: pa.list_(pa.float64()),
}
_SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in get_type_hints(Experiment).items()])


def experiments(store: Path, name: str, newest: int | None = None) -> list[Experiment]:
    """Every candidate of a problem's trainings and of its searches, oldest first.

    newest: so many of the last only, for which the cards of older runs are not read. A record that is damaged
    is left out, and named in the log.
    """
    judged: list[Experiment] = []
    keys = set()
    for run, card in _cards(store, name):
        judged += _judged(run, card)
        keys.add(card.recipe_key)
        if newest is not None and len(judged) >= newest:
            break  # a training whose card is not read is older than these, and falls off below
    found = [*judged, *_not_judged(store, name, keys), *_searched(store, name)]
    found.sort(key=lambda one: (one.made, one.run))
    return found if newest is None else found[max(0, len(found) - newest) :]


def log_trial(
    folder: Path,
    number: int,
    dataset: Dataset,
    seed: int,
    candidate: Mapping[str, Any],  # Any: JSON's values
    outcome: str,
    error: str = "",
) -> None:
    """Record what one trial of a search gave.

    folder: the search's. candidate: as `Entry` tells it, or what is known of one that failed. outcome:
    searched, pruned or failed.
    """
    record = {
        "run": f"search-{folder.name}-{number:03d}",
        **origin(dataset.id, seed),
        "outcome": outcome,
        "error": error,
        "candidate": candidate,
    }
    durable.write_json(folder / "trials" / f"{number:03d}.json", record)


def shown(one: Experiment) -> dict[str, object]:
    """What of a row is worth a table's width, numbers to four digits."""
    values = {name: getattr(one, name) for name in SHOWN}
    return {name: round(v, 4) if isinstance(v, float) else v for name, v in values.items()}


def compare(found: Sequence[Experiment], runs: Sequence[str]) -> dict[str, list[object]]:
    """Values by name, one a run in the order asked, only where they differ. Raises RegistryError."""
    chosen = [named(found, run) for run in runs]
    columns = {name: [asdict(one)[name] for one in chosen] for name in asdict(chosen[0])}
    return {name: values for name, values in columns.items() if len(set(map(str, values))) > 1}


def named(found: Sequence[Experiment], run: str) -> Experiment:
    """The one whose run has this name, or begins with it, rather than its candidates not chosen.

    Raises RegistryError unless it is one.
    """
    fitting = [one for one in found if one.run == run] or [one for one in found if one.run.startswith(run)]
    chosen = [one for one in fitting if one.outcome != "not chosen"]
    fitting = chosen or fitting
    if len(fitting) != 1:
        known = ", ".join(one.run for one in found[-5:]) or "none"
        raise RegistryError(f'"{run}" names {len(fitting)} runs; the last ones are {known}')
    return fitting[0]


def write_parquet(found: Sequence[Experiment], path: Path) -> None:
    """The rows as a Parquet file, for anyone's notebook, its columns of the same types whatever it holds."""
    with durable.aside(path) as draft:
        pq.write_table(pa.Table.from_pylist([asdict(one) for one in found], _SCHEMA), draft)


def _cards(store: Path, name: str) -> Iterator[tuple[Path, Card]]:
    """Of the runs that a problem's candidates were judged in, each with its folder, the newest first.

    One at a time: of many classes a card takes a megabyte.
    """
    for path in sorted((store / "runs").glob("*/candidate/card.json"), reverse=True):
        try:
            card = read_card(path.parent)
        except RegistryError as error:
            log.warning("Left out: %s; delete the folder %s", error, path.parents[1])
            continue
        if card.name == name:
            yield path.parent.parent, card


def _judged(run: Path, card: Card) -> Iterator[Experiment]:
    recipe, metrics = card.recipe, card.metrics["float32"]
    training = recipe["training"]
    facts = {
        "made": card.created_at,
        "seed": recipe["seed"],
        "dataset": card.dataset.id,
        "code": card.code_version,
        "machine": training["machine"],
    }
    judged = {key: metrics[key] for key in ("accuracy", "expected_cost", "log_loss")}
    best, *others = training["candidates"]
    yield _row(best, card.run, facts | judged | {"outcome": outcome_of(run) or card.verdict.outcome})
    for number, other in enumerate(others, start=1):
        yield _row(other, f"{card.run}-{number}", facts | {"outcome": "not chosen"})


def _not_judged(store: Path, name: str, judged: Set[str]) -> Iterator[Experiment]:
    """Candidates of trainings whose run failed or was killed before the gate, or has not come to it yet."""
    for path in (store / "trained").glob("*/training.json"):
        if path.parent.name not in judged:
            form = partial(_of_training, path.parent.name, name)
            yield from _rows(path, form, f"delete the folder {path.parent}")


def _of_training(key: str, name: str, story: dict[str, Any]) -> list[Experiment]:  # Any: JSON's values
    about = story.get("about")  # older ones do not say
    if about is None or about.pop("problem") != name:
        return []
    facts = about | {"outcome": "not judged"}
    return [
        _row(candidate, f"trained-{key[:12]}" + (f"-{number}" if number else ""), facts)
        for number, candidate in enumerate(story["candidates"])
    ]


def _searched(store: Path, name: str) -> Iterator[Experiment]:
    for path in (store / "tuned" / name).glob("*/trials/*.json"):
        yield from _rows(path, _of_trial, "delete it")


def _of_trial(record: dict[str, Any]) -> list[Experiment]:  # Any: JSON's values
    candidate, run = record.pop("candidate"), record.pop("run")
    return [_row(candidate, run, {"outcome": "searched"} | record)]  # older records do not say


def _rows(path: Path, form: Callable[[Any], list[Experiment]], remedy: str) -> list[Experiment]:
    """The rows of a record; none where it is damaged, or went as we looked."""
    try:
        return durable.read_json(path, form, remedy)
    except FileNotFoundError:
        return []
    except DamagedFileError as error:
        log.warning("Left out: %s", error)
        return []


def _row(candidate: dict[str, Any], run: str, facts: Any) -> Experiment:  # Any: JSON's values
    tuning = candidate["tuning"] or {}
    curve = candidate.get("curve", {})
    known = dict.fromkeys(("accuracy", "expected_cost", "log_loss")) | {"error": ""} | facts
    return Experiment(
        run=run,
        backbone=candidate["backbone"],
        image_size=candidate["image_size"],
        chosen=candidate["name"],
        # Older records lack some of these, and those that failed most of them.
        crop_mode=candidate.get("crop_mode", "center"),
        weights_sha256=candidate.get("weights_sha256"),
        l2=candidate.get("l2"),
        rate=tuning.get("rate"),
        decay=tuning.get("decay"),
        smoothing=tuning.get("smoothing"),
        weight_decay=tuning.get("weight_decay"),
        precision=candidate.get("precision"),
        device=candidate.get("device"),
        views=candidate["views"],
        epochs=candidate.get("epochs", 0),
        validation_accuracy=candidate.get("validation_accuracy"),
        validation_log_loss=candidate.get("validation_log_loss"),
        validation_losses=curve.get("validation_loss", []),
        train_losses=curve.get("train_loss", []),
        seconds=candidate.get("seconds"),
        **known,
    )
