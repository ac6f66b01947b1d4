"""A recorded training, done again: the same photos, recipe and seed, without the clock.

Knows runs' cards and what training needs. Knows nothing about how the answer is shown.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pawloop import durable
from pawloop.errors import RegistryError, WeightsError
from pawloop.problem import Problem
from pawloop.registry import read_card
from pawloop.sections import Model
from tasks.experiments import experiments, named
from tasks.inputs import Progress
from tasks.manifest import Dataset
from tasks.provenance import code_version, machine, new_run
from tasks.recipe import Recipe, replayed
from tasks.train import train
from tasks.weights import NETWORK_FILE, Pretrained, pretrained_all


@dataclass(frozen=True)
class Replay:
    """What came of it. differs: what was another than then (code, machine), which excuses a difference."""

    run: str
    is_same: bool
    differs: tuple[str, ...]


def replay(store: Path, problem: Problem, run: str, on_progress: Progress) -> Replay:
    """Train by the recipe of a judged run, and compare the network's weights bit for bit.

    run: its name or the beginning of that. Raises RegistryError when there is no such run or its network is
    gone, WeightsError when its pretrained weights are no longer at hand, DatasetError when a photo changed.
    """
    row = named(experiments(store, problem.name), run)
    if row.outcome in ("not chosen", "not judged", "searched", "pruned", "failed"):
        raise RegistryError(f'"{row.run}": {row.outcome}, so its network was not kept; replay a judged run')
    folder = store / "runs" / row.run / "candidate"
    if not (folder / NETWORK_FILE).exists():
        raise RegistryError(f"{folder / NETWORK_FILE} is gone, so there is nothing to compare with")
    card = read_card(folder)
    dataset, recipe = Dataset.open(store, card.name, card.dataset.id), replayed(card.recipe)
    key = f"replay-{new_run()}"
    place = store / "trained" / key
    try:
        train(dataset, recipe, [_weights(problem, store, recipe)], key, on_progress)
        is_same = durable.sha256(place / NETWORK_FILE) == durable.sha256(folder / NETWORK_FILE)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    then = {"code": card.code_version, "machine": card.recipe["training"]["machine"]}
    now = {"code": code_version(), "machine": machine()}
    differs = (f"{what} {then[what]} then, {now[what]} now" for what in then if then[what] != now[what])
    return Replay(row.run, is_same, tuple(differs))


def _weights(problem: Problem, store: Path, recipe: Recipe) -> Pretrained:
    """Those of the recipe's network, which a person may have named for that run alone."""
    net = recipe.nets[0]
    asked = [problem]
    if problem.model.init != "champion":
        asked.append(problem.varied(backbone=net.backbone))
    asked.append(asked[-1].model_copy(update={"model": Model(backbone=net.backbone)}))
    for one in asked:
        with suppress(WeightsError):  # of another network, or gone: the next ones may be those
            for found in pretrained_all(one, store):
                if (found.backbone, found.sha256) == (net.backbone, net.weights_sha256):
                    return found
    raise WeightsError(
        f"the run began with other weights of {net.backbone} than [model] init of the problem gives now; "
        "name those again"
    )
