"""The whole stack on one machine: Prefect server, worker, inference server, and what they need set up.

Knows processes, ports and Prefect's administration. Knows nothing about what a flow does.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import subprocess
import sys
import time
import uuid
import zoneinfo
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import tzlocal

from flows import schedules
from pawloop import durable
from pawloop.errors import DamagedFileError, PawloopError, ServerError
from pawloop.settings import Settings

if TYPE_CHECKING:  # or every command that names a port would wait for Prefect
    from prefect.client.schemas.filters import FlowRunFilter

POOL = "pawloop"
DEPLOYMENT = "retrain/nightly"
TREE = Path(__file__).resolve().parent.parent
MARK = "PAWLOOP_STACK"
FOLDER = "PAWLOOP_FOLDER"  # in which somebody started it: relative paths and `.env` count from there
_HEARTBEAT_S = 30
_LOOK_S = 2  # so long may somebody wait who pressed Run; Prefect's own is 10
_ZOMBIES = "pawloop: end runs whose process is gone"
_STOP_S = 8.0
_SCHEDULES = "schedules of "


def environment(settings: Settings) -> dict[str, str]:
    """The environment of every process of the stack, over the one that it was started in."""
    store = settings.store.resolve()
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        MARK: uuid.uuid4().hex,
        FOLDER: str(Path.cwd()),
        "PAWLOOP_STORE": str(store),
        "PAWLOOP_PROBLEM": settings.problem,
        "PAWLOOP_PREFECT_PORT": str(settings.prefect_port),
        "PAWLOOP_SERVER_URL": settings.server_url or settings.own_url,
        "PAWLOOP_TIMEZONE": timezone(settings),
        **_home(store),
        "PREFECT_HOME": str(store / "prefect"),
        "PREFECT_API_URL": api_url(settings),
        "PREFECT_SERVER_UI_API_URL": "/api",  # the UI's own origin, also behind a proxy or a tunnel
        # Threads of a parallel region that wait by spinning take the core from those they wait for.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_ARENA_MAX": "2",  # many threads on many arenas cost hundreds of megabytes
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(_HEARTBEAT_S),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "tasks",  # what stages say of damaged files stands with the run
        "PREFECT_WORKER_QUERY_SECONDS": str(_LOOK_S),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
    }


def api_url(settings: Settings) -> str:
    """The Prefect server's API."""
    return f"http://127.0.0.1:{settings.prefect_port}/api"


def check_ports(settings: Settings) -> None:
    """Raise ServerError that names each port that somebody else holds, and who."""
    troubles = [
        f"PAWLOOP_{name}: port {port} of {host} {trouble}"
        for name, host, port in (
            ("PREFECT_PORT", "127.0.0.1", settings.prefect_port),
            ("PORT", settings.host, settings.port),
        )
        if (trouble := _trouble(host, port))
    ]
    if troubles:
        raise ServerError("\n".join(troubles))


def prefect_answers(url: str) -> bool:
    """Whether a Prefect server answers at this API address."""
    try:
        return httpx.get(f"{url}/health", timeout=2.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def wait_for_prefect(url: str, timeout_s: float = 90.0, lives: Callable[[], bool] = lambda: True) -> None:
    """Return when the Prefect server answers. Raises ServerError when it does not in time, or has ended."""
    deadline = time.monotonic() + timeout_s
    while not prefect_answers(url):
        if not lives():
            raise ServerError(f"{url}: the Prefect server ended before it answered")
        if time.monotonic() > deadline:
            raise ServerError(f"{url}: the Prefect server does not answer after {timeout_s:.0f} s")
        time.sleep(0.2)


def set_up(settings: Settings) -> None:
    """Pool, deployments and the automation against zombie runs, each made only where it is missing.

    Deploys again only when `prefect.yaml` or the flows' code changed. What people made of the schedules in
    the UI stays, unless `prefect.yaml` says something else of a deployment's than when it was deployed.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    with get_client(sync_client=True) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        try:
            client.read_deployment_by_name(DEPLOYMENT)
            is_deployed = True
        except ObjectNotFound:
            is_deployed = False
    stamp, code = settings.store.resolve() / "prefect" / "deployed.json", _deployed_code(settings)
    noted = _noted_code(stamp)
    if not is_deployed or noted != code:
        before = schedules.deployed(POOL)
        _deploy()
        schedules.put_back(before, _rewritten(noted or {}, code))
        durable.write_json(stamp, code)
    _end_zombies()


def end_left_over(store: Path, before: datetime) -> None:
    """Tell Prefect that runs of an earlier stack are dead: nobody else will, nor would they go on.

    before: when this stack began. Where somebody is at work on the store, that may be one of them.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
    from prefect.client.schemas.objects import State
    from prefect.states import Crashed

    if any(durable.holder(path) for path in (store / "locks").glob("*.lock")):
        return
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(
            flow_run_filter=_in_state("RUNNING", "PENDING", "CANCELLING"),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
        ):
            if run.state and run.state.timestamp < before:
                state: State[None] = Crashed(
                    message="The stack ended while this ran; another run goes on from there."
                )
                client.set_flow_run_state(run.id, state, force=True)


def run_deployment(parameters: dict[str, object] | None = None) -> uuid.UUID:
    """Start the deployment `retrain/nightly` once, unless a run of it is under way; its run's id."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(DEPLOYMENT)
        under_way = client.read_flow_runs(
            flow_run_filter=_in_state("RUNNING", "PENDING"),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        )
        if under_way and parameters is None:
            return under_way[0].id
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters or {}).id


def _in_state(*types: str) -> FlowRunFilter:
    from prefect.client.schemas.filters import FlowRunFilter

    return FlowRunFilter.model_validate({"state": {"type": {"any_": types}}})


def await_run(run_id: uuid.UUID, every_s: float = 1.0) -> tuple[str, str]:
    """Wait until a run has ended; its state's name and message."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        while True:
            state = client.read_flow_run(run_id).state
            if state is not None and state.is_final():
                return state.name or state.type.value, state.message or ""
            time.sleep(every_s)


def end_all(mark: str) -> None:
    """Stop every process that still carries this stack's mark, such as a run that its worker left.

    Runs live in process groups of their own, which the signal to the worker's group does not reach.
    """
    ours = carriers(mark)
    for process in ours:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(ours, timeout=_STOP_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_STOP_S)


def carriers(mark: str) -> list[psutil.Process]:
    """Every other process that carries this stack's mark.

    Python's own helper, which it has where processes are not forked, ends with the last that it serves.
    """
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _carries(p, mark)]


def weight_mb() -> int:
    """What the environment that runs this weighs on disk, megabytes."""
    root = Path(sys.prefix)
    return sum(p.lstat().st_blocks * 512 for p in root.rglob("*") if not p.is_dir()) // 10**6


def _deployed_code(settings: Settings) -> dict[str, str]:
    files = [TREE / "prefect.yaml", *sorted((TREE / "flows").glob("*.py"))]
    code = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    written = schedules.written(TREE / "prefect.yaml", timezone(settings))
    # A run starts in the folder it was deployed from, by the zone of that day.
    return code | {f"{_SCHEDULES}{name}": told for name, told in written.items()} | {"tree": str(TREE)}


def _rewritten(noted: dict[str, str], code: dict[str, str]) -> list[str]:
    """Names of deployments whose schedules in `prefect.yaml` are others than were deployed."""
    changed = [key for key, told in code.items() if key in noted and noted[key] != told]
    return [key.removeprefix(_SCHEDULES) for key in changed if key.startswith(_SCHEDULES)]


def _noted_code(stamp: Path) -> dict[str, str] | None:
    """What was deployed last; None where nobody knows, so that it is deployed again."""
    try:
        return durable.read_json(stamp, dict, "delete it")
    except (FileNotFoundError, DamagedFileError):
        return None


def _home(store: Path) -> dict[str, str]:
    """A home where there is none, as in a container without its user: Prefect asks for one as it starts."""
    try:
        Path.home()
    except RuntimeError:
        return {"HOME": str(store)}
    return {}


def timezone(settings: Settings) -> str:
    """The zone of the schedules; UTC where the machine does not tell its own by name."""
    try:
        name = settings.timezone or tzlocal.get_localzone_name()
    except (LookupError, OSError):  # the machine's files name two zones, or one that nobody knows
        name = None
    return name if name in zoneinfo.available_timezones() else "UTC"


def _deploy() -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PawloopError(f"prefect deploy failed:\n{done.stdout}{done.stderr}")


def _end_zombies() -> None:
    """Prefect's recipe against runs that died without a word (docs.prefect.io, "detect zombie flows")."""
    from prefect.automations import Automation
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    try:
        Automation.read(name=_ZOMBIES)  # type: ignore[unused-coroutine]  # synchronous here
    except ValueError:  # its word for "not found"
        Automation(
            name=_ZOMBIES,
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                # Any word from the run, since a run may end in a state of another name.
                expect={"prefect.flow-run.*"},
                match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(seconds=3 * _HEARTBEAT_S),
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED, message="No heartbeat: the run's process is gone."
                )
            ],
        ).create()


def _trouble(host: str, port: int) -> str:
    """Why nothing can listen there; empty where it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"is taken{_holder(port)}; stop that, or choose another port"
            return f"cannot be listened at: {error.strerror}; correct PAWLOOP_HOST or the port"
    return ""


def _holder(port: int) -> str:
    for process in psutil.process_iter():
        # macOS shows an ordinary user the connections of his own processes alone
        with contextlib.suppress(psutil.Error):
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port:
                    return f" by {process.name()} (process {process.pid})"
    return ""


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        is_marked = process.environ().get(MARK) == mark
        return is_marked and not any("multiprocessing.resource_tracker" in word for word in process.cmdline())
    except (psutil.Error, OSError):
        return False
