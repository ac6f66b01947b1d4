"""What every flow run has in common: its lock, its name, its end and who is told.

Knows Prefect's runs. Knows nothing about stages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from prefect import Flow, Task, runtime
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.stack import FOLDER
from pawloop import directly, durable, running, settings
from pawloop.errors import PawloopError
from pawloop.problem import Problem
from pawloop.settings import Settings
from tasks import experiments

_EXPERIMENTS = 100
_SEPARATOR = " · "
_RUNNING = "running"


def loaded() -> Settings:
    """The settings, as in the folder where somebody started the stack; a worker's runs begin elsewhere."""
    directly.bypass_proxy()  # the command line does it, too, and not every worker is started by that
    os.chdir(os.environ.get(FOLDER, "."))
    return settings.load()


@contextmanager
def only_one(store: Path, problem: Problem, what: str = "retrain") -> Iterator[None]:
    """Hold the problem's lock for this run; it dies with the process, however that ends.

    what: the flow; a search and a retrain may run side by side, two of a kind may not.
    Raises BusyError that names the holder.
    """
    shown = rename(problem, _RUNNING)
    with durable.lock(running.run_lock(store, problem.name, what), f"{what} run {shown}"):
        yield


@contextmanager
def alone_with_photos(store: Path, problem: Problem) -> Iterator[None]:
    """From collecting to splitting, wait for the problem's other flow, which makes the same tables."""
    path = running.run_lock(store, problem.name, "photos")
    if runtime.flow_run.id and (holder := durable.holder(path)):
        get_run_logger().info("Waiting for the photos, which %s has", holder)
    with durable.lock(path, f"run {_named(problem, _RUNNING)}", wait=True):
        yield


def rename(problem: Problem, what: str) -> str:
    """Name the run after its problem and how far it is, and tag it with the problem; the name."""
    run_id, name = runtime.flow_run.id, _named(problem, what)
    if run_id is not None:
        with get_client(sync_client=True) as client:
            tags = sorted({*(runtime.flow_run.tags or []), problem.name})
            client.update_flow_run(run_id, name=name, tags=tags)
    return name


def name_by_end(
    flow: Flow[..., Any],  # noqa: ARG001  (Prefect calls hooks by names; Any: its generics)
    flow_run: FlowRun,
    state: State[Any],
) -> None:
    """Let a run that ended without a word of its own no longer be called a running one."""
    with get_client(sync_client=True) as client:
        name = client.read_flow_run(flow_run.id).name
        if name.endswith(_SEPARATOR + _RUNNING):
            # Hooks hear of a cancellation while it is under way.
            how = "cancelled" if state.is_cancelling() else (state.name or state.type.value).lower()
            client.update_flow_run(flow_run.id, name=name.removesuffix(_RUNNING) + how)


def _named(problem: Problem, what: str) -> str:
    return f"{problem.name}{_SEPARATOR}{what}"


def ended(problem: Problem, how: str, message: str) -> State[None]:
    """The run's final state, named after what came of it, and the run named likewise."""
    with _only_shown("its name"):
        rename(problem, how.lower())
    return Completed(name=how, message=message)


def artifact_key(problem: str, what: str) -> str:
    """What an artifact of a problem is called: Prefect takes no "_", which a problem's name may hold."""
    return f"{problem.replace('_', '-')}-{what}"


def show_experiments(store: Path, problem: Problem) -> None:
    """The last candidates of a problem as a table in the UI, the latest first."""
    with _only_shown("the table of experiments"):
        found = experiments.experiments(store, problem.name, _EXPERIMENTS)[::-1]
        create_table_artifact(
            [experiments.shown(one) for one in found],
            key=artifact_key(problem.name, "experiments"),
            description=f"The last {len(found)} candidates; all by `pawloop experiments list --limit 0`",
        )


@contextmanager
def _only_shown(what: str) -> Iterator[None]:
    """Let a run whose end is written not fail by what people merely look at."""
    try:
        yield
    except Exception:
        get_run_logger().exception("Not shown: %s", what)


def announce(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # Any: Prefect's generics
    """Tell of a failed run by an event, to which any notification can be attached."""
    emit_event(
        f"pawloop.{flow.name}.failed",
        resource={
            "prefect.resource.id": f"pawloop.flow-run.{flow_run.id}",
            "prefect.resource.name": flow_run.name,
        },
        payload={"message": state.message or "", "parameters": flow_run.parameters},
    )


# What every flow does about an end that it has no word of its own for.
HOOKS: Final[dict[str, Any]] = {  # Any: Prefect's hooks
    "on_failure": [announce, name_by_end],
    "on_crashed": [announce, name_by_end],
    "on_cancellation": [name_by_end],
}


def by_chance(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:  # Any: Prefect's generics
    """Whether a failure may pass by itself: a network's or a disk's, never a mistake in the input."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, httpx.HTTPError | OSError) and not isinstance(error, PawloopError)
