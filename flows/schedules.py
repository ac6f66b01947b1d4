"""Schedules as people changed them in the Prefect UI, kept where newer code is deployed.

`prefect deploy` puts those of `prefect.yaml` in their place, whoever made the ones before. Knows Prefect's
deployments; knows nothing about what they run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:  # or every command that names a port would wait for Prefect
    from prefect.client.schemas.responses import DeploymentResponse


def written(file: Path, timezone: str) -> dict[str, str]:
    """What a `prefect.yaml` says of each deployment's schedules, by the deployment's name."""
    told = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {one["name"]: json.dumps([one.get("schedules"), timezone]) for one in told["deployments"]}


def deployed(pool: str) -> list[DeploymentResponse]:
    """A work pool's deployments as they are now."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

    with get_client(sync_client=True) as client:
        return client.read_deployments(work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])))


def put_back(before: Sequence[DeploymentResponse], anew: Collection[str]) -> None:
    """Give deployments the schedules again that they had before, also paused ones.

    anew: names of those whose schedules in `prefect.yaml` are others than were deployed before: they stay.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleUpdate, DeploymentUpdate

    with get_client(sync_client=True) as client:
        for old in before:
            new, (paused, schedules) = client.read_deployment(old.id), _told(old)
            if old.name in anew or _told(new) == (paused, schedules):
                continue
            for schedule in new.schedules:  # or Prefect asks for a slug for each of those to come
                client.delete_deployment_schedule(old.id, schedule.id)
            again = [DeploymentScheduleUpdate(**one) for one in schedules]
            client.update_deployment(old.id, DeploymentUpdate(paused=paused, schedules=again))


def _told(deployment: DeploymentResponse) -> tuple[bool, list[dict[str, Any]]]:  # Any: Prefect's values
    names = ("schedule", "active", "parameters", "slug")
    schedules = [{name: getattr(one, name) for name in names} for one in deployment.schedules]
    return deployment.paused, sorted(schedules, key=str)
