"""Every training that was judged, as rows that can be compared.

Reads the cards that runs leave behind; keeps nothing of its own. Knows runs and recipes; knows nothing
about how they are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pawloop import durable
from pawloop.errors import DatasetError, RegistryError
from pawloop.registry import read_card


@dataclass(frozen=True)
class Experiment:
    """One candidate: what it was made from, what it gave, what became of it.

    accuracy, expected_cost, log_loss: of the float32 file on test photos. chosen: which of the
    training's candidates it is. seconds: of training.
    """

    run: str
    made: str
    backbone: str
    image_size: int
    fine_tune: str
    views: int
    budget_s: float
    seed: int
    dataset: str
    code: str
    chosen: str
    validation_accuracy: float
    accuracy: float
    expected_cost: float
    log_loss: float
    seconds: float
    machine: str
    outcome: str


def experiments(store: Path, name: str) -> list[Experiment]:
    """Every judged run of a problem, oldest first; runs that never got so far are left out."""
    return sorted(_read(store, name), key=lambda one: one.run)


def compare(found: Sequence[Experiment], runs: Sequence[str]) -> dict[str, list[object]]:
    """Values by name, one a run in the order asked, only where they differ. Raises RegistryError."""
    chosen = [_named(found, run) for run in runs]
    columns = {name: [asdict(one)[name] for one in chosen] for name in asdict(chosen[0])}
    return {name: values for name, values in columns.items() if len(set(map(str, values))) > 1}


def write_parquet(found: Sequence[Experiment], path: Path) -> None:
    """The rows as a Parquet file, for anyone's notebook."""
    with durable.aside(path) as draft:
        pq.write_table(pa.Table.from_pylist([asdict(one) for one in found]), draft)


def _named(found: Sequence[Experiment], run: str) -> Experiment:
    fitting = [one for one in found if one.run.startswith(run)]
    if len(fitting) != 1:
        known = ", ".join(one.run for one in found[-5:]) or "none"
        raise RegistryError(f'"{run}" names {len(fitting)} runs; the last ones are {known}')
    return fitting[0]


def _read(store: Path, name: str) -> Iterator[Experiment]:
    for path in (store / "runs").glob("*/candidate/card.json"):
        try:
            card = read_card(path.parent)
        except (DatasetError, RegistryError):
            continue  # a run that was killed while it wrote; its own log says so
        if card.name != name:
            continue
        recipe, metrics = card.recipe, card.metrics["float32"]
        training = recipe["training"]
        best = min(training["candidates"], key=lambda one: one["validation_log_loss"])
        yield Experiment(
            run=card.run,
            made=card.created_at,
            backbone=card.backbone,
            image_size=card.image_size,
            fine_tune=recipe["fine_tune"],
            views=recipe["views"],
            budget_s=recipe["budget_s"],
            seed=recipe["seed"],
            dataset=card.dataset.id,
            code=card.code_version,
            chosen=best["name"],
            validation_accuracy=best["validation_accuracy"],
            accuracy=metrics["accuracy"],
            expected_cost=metrics["expected_cost"],
            log_loss=metrics["log_loss"],
            seconds=training["seconds"],
            machine=training["machine"],
            outcome=card.verdict.outcome,
        )
