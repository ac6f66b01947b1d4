"""The loop, with a real Prefect server, worker and inference server: from nothing to a swapped model."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.stack import Caller, Stack, answers, asked, wait_until

PORTS = ("PAWLOOP_PORT", "PAWLOOP_PREFECT_PORT", "PREFECT_API_URL")
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("stack"), settings={"PAWLOOP_TIMEZONE": "Europe/Berlin"})
    made.start()
    try:
        made.pause_schedules()
        yield made
        made.stop()
    finally:
        for process in made.ours():
            with contextlib.suppress(psutil.Error):
                process.kill()


def test_up_ends_with_a_model_that_answers(stack: Stack) -> None:
    stack.await_line("Pawloop is ready: sample version 1")
    command = shlex.split(stack.await_line(r"^  curl -s"))
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.search(r'"label": "(cat|dog)"', said)
    stack.await_line(r"weighs [\d,]+ MB")
    answer = httpx.get(f"{stack.url}/readyz").json()
    assert answer["model"] == {"name": "sample", "version": 1}
    accuracy = httpx.get(f"{stack.url}/model").json()["metrics"]["float32"]["accuracy"]
    assert accuracy >= 0.95
    assert stack.aliases()["anchor"] == 1


def test_prefects_server_answers_programs_and_its_own_pages_alone(stack: Stack) -> None:
    server = f"http://127.0.0.1:{stack.prefect_port}"
    asked = {"url": f"{server}/api/flows/filter", "json": {}}
    own, foreign = f"http://localhost:{stack.prefect_port}", "http://evil.example"
    assert httpx.post(**asked).status_code == httpx.codes.OK
    allowed = httpx.post(**asked, headers={"origin": own})
    assert allowed.status_code == httpx.codes.OK
    assert allowed.headers["access-control-allow-origin"] in ("*", own)
    assert httpx.post(**asked, headers={"origin": foreign}).status_code == httpx.codes.FORBIDDEN
    assert "<html" in httpx.get(server, follow_redirects=True).text.lower()


def test_a_terminal_that_knows_no_ports_finds_the_stack(stack: Stack) -> None:
    found = stack.run("pawloop", "doctor", without=PORTS).stdout
    second = stack.run("pawloop", "up", without=PORTS)
    assert f"inference server answers at {stack.url}" in found
    assert f"Prefect server answers at http://127.0.0.1:{stack.prefect_port}" in found
    assert second.returncode == 1
    assert f"held by `pawloop up` with port {stack.port} (process {stack.process.pid}" in second.stderr


def test_the_story_of_a_run_is_in_prefects_ui(stack: Stack) -> None:
    artifacts = stack.prefect("/artifacts/filter")
    kinds = {artifact["type"] for artifact in artifacts}
    assert kinds == {"progress", "markdown", "table"}
    report = next(a for a in artifacts if a["key"] == "sample-report")["data"]
    assert "data:image/png;base64," in report
    assert len(report) <= 200_000
    run = stack.flow_runs()[0]
    assert run["name"] == "sample · version 1"
    assert {"pawloop", "sample"} <= set(run["tags"])


def test_another_seed_swaps_the_model_without_a_failed_call(stack: Stack) -> None:
    with Caller(stack.url, stack.photo()) as caller:
        done = stack.run("prefect", "deployment", "run", "retrain/nightly", "-p", "seed=1", "--watch")
        assert done.returncode == 0, done.stdout + done.stderr
        wait_until(lambda: 2 in caller.versions, 10, "version 2 answers")
    assert caller.failures == []
    assert caller.versions == {1, 2}
    observed = json.loads((stack.store / "models" / "sample" / "2" / "shadow.json").read_text())
    assert observed["outcome"] == "promote"
    assert stack.aliases()["champion"] == 2


def test_nothing_new_ends_as_unchanged(stack: Stack) -> None:
    done = stack.run("prefect", "deployment", "run", "retrain/nightly", "-p", "seed=1", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    last = stack.flow_runs()[-1]
    assert last["state_name"] == "Unchanged"
    assert stack.aliases()["champion"] == 2


def test_schedules_go_by_the_zone_that_is_set(stack: Stack) -> None:
    found = [one["schedule"] for d in stack.prefect("/deployments/filter") for one in d["schedules"]]
    assert [schedule["timezone"] for schedule in found] == ["Europe/Berlin"] * 2


def test_a_retrain_on_a_store_without_a_stack_asks_no_other_stacks_server(
    stack: Stack, tmp_path: Path
) -> None:
    other = {"PAWLOOP_STORE": str(tmp_path), "PAWLOOP_PORT": str(stack.port)}
    done = stack.run("pawloop", "retrain", instead=other)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Version 1" in done.stdout
    assert "no server was asked" in done.stderr


def test_the_command_line_knows_the_versions_and_rolls_back(stack: Stack) -> None:
    listed = stack.run("pawloop", "models", "list", "--json")
    assert '"champion"' in listed.stdout
    assert '"previous"' in listed.stdout
    rolled = stack.run("pawloop", "models", "rollback", "--reason", "a test")
    assert rolled.returncode == 0, rolled.stderr
    wait_until(
        lambda: httpx.get(f"{stack.url}/readyz").json()["model"]["version"] == 1,
        10,
        "version 1 answers again",
    )


def test_a_search_leaves_candidates_and_its_story(stack: Stack) -> None:
    file = stack.folder / "sample.toml"
    file.write_text(stack.problem.replace('fine_tune = "never"', 'fine_tune = "auto"'))
    done = stack.run("prefect", "deployment", "run", "tune/weekly", "--watch")
    file.write_text(stack.problem)  # with frozen heads alone, which are quick
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack.flow_runs()[-1]["state_name"] == "Searched"
    assert (stack.store / "tuned" / "sample" / "candidates.json").exists()
    keys = {artifact["key"] for artifact in stack.prefect("/artifacts/filter")}
    assert {"sample-search", "sample-experiments"} <= keys


def test_a_recorded_run_trained_again_is_the_same(stack: Stack) -> None:
    listed = json.loads(stack.run("pawloop", "experiments", "list", "--json").stdout)
    run = next(one["run"] for one in listed if one["outcome"] == "promote")
    done = stack.run("pawloop", "experiments", "replay", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "the same network, bit for bit"
    unknown = stack.run("pawloop", "experiments", "replay", "20000101-000000-abcd")
    assert unknown.returncode == 1
    assert "names 0 runs" in unknown.stderr


def engines(stack: Stack) -> list[psutil.Process]:
    return [p for p in stack.ours() if "prefect.engine" in " ".join(p.cmdline())]


def workers(stack: Stack) -> list[psutil.Process]:
    return [p for p in stack.ours() if "worker" in p.cmdline() and "start" in p.cmdline()]


def test_a_killed_server_answers_again(stack: Stack) -> None:
    [server] = [p for p in stack.ours() if p.cmdline()[1:] == ["-m", "serve"]]
    server.kill()
    wait_until(lambda: not server.is_running() and answers(stack.url), 30, "another server answers")
    assert httpx.post(f"{stack.url}/predict", content=stack.photo()).status_code == httpx.codes.OK


def test_without_prefects_server_photos_are_answered_until_it_is_back(stack: Stack) -> None:
    named = [p for p in stack.ours() if "flows.prefect_server" in p.cmdline()]
    [prefect] = [p for p in named if "flows.keep" not in p.cmdline()]
    serving = [p.pid for p in stack.ours() if p.cmdline()[1:] == ["-m", "serve"]]
    prefect.kill()
    wait_until(lambda: not prefect.is_running(), 30, "Prefect's server is gone")
    assert httpx.post(f"{stack.url}/predict", content=stack.photo()).status_code == httpx.codes.OK
    wait_until(
        lambda: answers(f"http://127.0.0.1:{stack.prefect_port}/api/health"), 90, "another one answers"
    )
    assert [p.pid for p in stack.ours() if p.cmdline()[1:] == ["-m", "serve"]] == serving


def test_a_killed_run_and_worker_lose_nothing_and_the_next_run_succeeds(stack: Stack) -> None:
    before = stack.aliases()
    started = stack.run("prefect", "deployment", "run", "retrain/nightly", "-p", "seed=2")
    assert started.returncode == 0, started.stderr
    wait_until(lambda: bool(engines(stack)), 60, "the run's process starts")
    time.sleep(6)
    for process in [*engines(stack), *workers(stack)]:
        process.kill()
    assert httpx.post(f"{stack.url}/predict", content=stack.photo()).status_code == httpx.codes.OK
    assert stack.aliases() == before
    wait_until(lambda: bool(workers(stack)), 30, "the worker is started again")
    with Caller(stack.url, stack.photo()):  # a live photo, beside which the new model is seen
        done = stack.run("pawloop", "retrain", "--seed", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Version 3" in done.stdout


def test_started_again_it_retrains_nothing_and_ctrl_c_leaves_no_process(stack: Stack) -> None:
    left_over = stack.run_that_nobody_works_on()
    address, _ = stack.schedules()["nightly"]
    asked("PATCH", address, {"schedule": {"cron": "30 22 * * *", "timezone": "Asia/Tokyo"}})
    assert stack.stop() == 0
    assert stack.ours() == []
    (stack.store / "prefect" / "deployed.json").unlink()  # as newer code does, so that it is deployed again
    stack.start()
    stack.await_line("Pawloop is ready: sample version 3", 60)
    assert not stack.schedules()["nightly"][1], "a schedule that somebody paused stays paused"
    crons = [s["schedule"]["cron"] for d in stack.prefect("/deployments/filter") for s in d["schedules"]]
    assert sorted(crons) == ["0 5 * * 0", "30 22 * * *"], "and one that somebody moved stays moved"
    assert not any("database is locked" in line for line in stack.lines)
    assert next(run for run in stack.flow_runs() if run["id"] == left_over)["state_type"] == "CRASHED"
    assert stack.stop() == 0
    assert stack.ours() == []


def test_a_taken_port_is_named_before_anything_starts(stack: Stack, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", str(stack.port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as holder:
        wait_until(lambda: answers(stack.url), 10, "the other server is up")
        said = stack.run("pawloop", "up")
        holder.terminate()
    assert said.returncode == 1
    assert f"PAWLOOP_PORT: port {stack.port}" in said.stderr
    assert str(holder.pid) in said.stderr
