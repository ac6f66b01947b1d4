"""What arrives at a live Prefect server, where notifications and automations are attached to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from flows import retrain
from pawloop.errors import DatasetError
from tests.e2e.stack import asked
from tests.tasks.albums import album, made, problem

_WAIT_S = 30.0


@pytest.fixture
def server() -> Iterator[str]:
    """The API of a Prefect server of its own."""
    with prefect_test_harness(server_startup_timeout=120):
        yield str(PREFECT_API_URL.value())


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore:Logger:UserWarning")  # there is no flow run around it
def test_failed_checks_reach_the_server_with_what_failed(server: str, tmp_path: Path) -> None:
    album(tmp_path / "photos", ("cat",), each=40)
    about = problem(album(tmp_path / "photos", ("dog",), each=3, seed=500))
    dataset = made(about, tmp_path / "store")

    with pytest.raises(DatasetError, match="not fit to train on"):
        retrain.validate(dataset, about, None)
    EventsWorker.drain_all()

    wanted = {"filter": {"event": {"name": ["pawloop.validation.failed"]}}}
    until, events = time.monotonic() + _WAIT_S, []
    while not events and time.monotonic() < until:
        events = asked("POST", f"{server}/events/filter", wanted).json()["events"]
        time.sleep(0.2)
    [event] = events
    assert event["resource"]["prefect.resource.id"] == f"pawloop.dataset.test.{dataset.id}"
    assert 'photos of "dog": asked at least 20, got 3' in event["payload"]["checks"]
