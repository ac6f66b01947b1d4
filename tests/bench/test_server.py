"""The server's bench: its generator, its verdicts and its page, without any peer."""

from __future__ import annotations

import io
import os
import random
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import children, claims, peers, race, report, requests, rubbish
from bench.bare import Bare
from bench.claims import Results
from bench.contestants import OURS, Contestant, Range
from bench.firing import Outcome, fire
from bench.load import Load
from bench.models import Model
from bench.race import Lap, Laps, Race, Standing
from bench.rubbish import Rubbish
from bench.steady import Growth, Swaps
from pawloop import image
from tests import published
from tests.serve.running import running, settings


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A folder of requests with photos of two colours."""
    photos = [published.photo("red"), published.photo("blue")]
    return requests.written(tmp_path / "requests", photos, "raw", "/predict")[0]


@pytest.mark.parametrize("form", ["raw", "form"])
def test_a_closed_loop_is_answered_all_the_time(tmp_path: Path, form: requests.Form) -> None:
    published.champion(tmp_path / "store")
    folder, _ = requests.written(tmp_path / "r", [published.photo("red")], form, "/predict")
    with running(settings(tmp_path)) as server:
        load = Load(server.port, [path.read_bytes() for path in folder.iterdir()])
        load.closed(4, 5.0, 60)
    assert len(load.answers) >= 60
    assert {status for _, _, status in load.answers} == {200}
    assert all(0 < took < 5 for _, took, _ in load.answers)


def test_an_open_loop_keeps_its_rate_and_counts_from_when_it_was_due(tmp_path: Path, asked: Path) -> None:
    published.champion(tmp_path / "store")
    with running(settings(tmp_path)) as server:
        load = Load(server.port, [path.read_bytes() for path in sorted(asked.iterdir())])
        load.open(40, 1.0)
    assert len(load.answers) + load.unsent == pytest.approx(40, abs=1)
    assert {status for _, _, status in load.answers} == {200}


def test_a_child_is_measured_and_ended_by_its_id(tmp_path: Path, asked: Path) -> None:
    published.champion(tmp_path / "store")
    port = children.free_port()
    variables = {
        "PAWLOOP_STORE": str(tmp_path / "store"),
        "PAWLOOP_PROBLEM": str(published.problem_file(tmp_path)),
        "PAWLOOP_PORT": str(port),
        "PAWLOOP_JOURNAL": "off",
    }
    root = Path(__file__).resolve().parents[2]
    first = sorted(asked.iterdir())[0].read_bytes()
    command = [sys.executable, "-m", "serve"]
    with children.started(command, port, first, variables, root, tmp_path / "log") as child:
        outcome = fire(child, asked, connections=2, seconds=0.5)
        process = child.process
        assert child.rss_mb() > 30
    assert outcome.failed == 0
    assert outcome.photos_s > 1
    assert 0 < outcome.cpu_ms < 1000
    assert 0 < outcome.share_left(2) <= 1
    assert not process.is_running()


def test_photos_a_second_are_those_after_the_lead() -> None:
    answers = np.array([[0.1, 5, 200], [0.5, 5, 200], [0.9, 5, 503], [1.1, 5, 200]])
    assert Outcome(answers, 1.25, 1.0, 0.1, lead_s=0.25).photos_s == 2
    assert Outcome(answers, 1.25, 1.0, 0.1).photos_s == pytest.approx(3 / 1.25)


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no such model')"]
    with (
        pytest.raises(children.DidNotStartError, match="no such model"),
        children.started(command, children.free_port(), b"", {}, tmp_path, tmp_path / "log"),
    ):
        pass


def test_every_peer_is_pinned_and_has_its_app() -> None:
    for peer in peers.PEERS:
        pinned = (peers.APPS / f"requirements-{peer.environment}.txt").read_text().split()
        assert all(re.fullmatch(r"[a-z0-9\[\]-]+==[\w.]+", line) for line in pinned)
        app = re.search(r"(\w+_(?:torch|onnx))", f"{peer.command} {peer.variables}")
        assert app
        assert (peers.APPS / f"{app[1]}.py").is_file()
        assert not [part for part in peer.argv(1, 2) if "{" in part]


def test_mutated_requests_are_the_same_by_seed_and_of_many_kinds() -> None:
    photos = [published.photo("red", (300, 200))] * 4
    one, other = (list(islice(rubbish.mutated(photos, random.Random(3)), 200)) for _ in range(2))
    assert one == other
    assert len(set(one)) > 150


def results() -> Results:
    """A race that ours wins at 8 connections and loses at 32."""
    raced = Race("mobilenet_v3_large", 2, [Bare(400, 4.0, 5.0)], [Bare(200, 4.0, 5.0)])
    for name, fast in ((OURS, (200, 390, 100)), ("FastAPI", (180, 250, 250))):
        laps = {
            count: [Lap(photos_s, 10, 14 if name == OURS else 60, 4.2, 0.98, 0)]
            for count, photos_s in zip((1, 8, 32), fast)
        }
        raced.standings.append(Standing(name, laps, [140.0], [0.5]))
    raced.standings.append(Standing("Gone", absent="did not start: no such model"))
    broken = Rubbish(500, {400: 499, 500: 1}, True, 150, 150)
    swaps, growth = Swaps(50, 0, 40, 60, 140, 143), Growth(1000, 0, [140.0] * 10)
    return Results(race=raced, swaps=swaps, growth=growth, rubbish=broken)


def test_the_limit_is_measured_on_both_sides_of_our_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = iter([Bare(400, 4.0, 5.0), Bare(200, 4.0, 5.0), Bare(300, 6.0, 7.0), Bare(100, 6.0, 7.0)])
    done: list[str] = []
    monkeypatch.setattr(race.bare, "limit", lambda *_: done.append("limit") or next(limits))
    monkeypatch.setattr(race, "_lap", lambda one, *_: done.append(one.name))

    model = Model("mobilenet_v3_large", "", tmp_path, tmp_path, {"float32": tmp_path}, tmp_path)
    who = [Contestant(OURS), Contestant("FastAPI")]
    found = race.run(model, who, Range([], 2, tmp_path), tmp_path, Laps(1, 1.0, [8]), {}, done.append)

    assert done[1:6] == ["limit", "limit", OURS, "limit", "limit"]
    assert found.bare == [Bare(350, 5.0, 6.0)]
    assert found.alone == [Bare(150, 5.0, 6.0)]


def test_targets_are_met_or_missed_as_the_numbers_say() -> None:
    found = {claim.asked: claim.is_met for claim in claims.claims(results())}
    assert found["CPU a request by the bare loop's, 8 connections: at most 1.07"]
    assert found["throughput by the best peer's, 8 connections: at least 1.15"]
    assert not found["throughput by the best peer's, 32 connections: at least 1.15"]
    assert found["p99 while swapping, by its quiet value: at most 2"]
    assert not found["5xx but 503 in 500 mutated requests"]


def test_a_peer_with_our_decoder_is_told_of_and_is_no_target() -> None:
    given = results()
    assert given.race
    laps = {8: [Lap(380, 10, 12, 4.1, 0.98, 0)]}
    given.race.standings.append(Standing(f"FastAPI{peers.OUR_DECODER}", laps, [140.0], [0.5]))
    found = {claim.asked: claim for claim in claims.claims(given)}
    assert found["throughput by the best peer's, 8 connections: at least 1.15"].is_met
    told = found["throughput by that of a peer with our decoder, 8 connections"]
    assert (told.is_met, told.found[:4]) == (None, "1.03")


def test_peers_decode_to_what_the_model_was_trained_on_each_in_its_way() -> None:
    folder = str(peers.APPS)
    code = "import sys, pixels; sys.stdout.buffer.write(pixels.decoded(sys.stdin.buffer.read()).tobytes())"
    photo = published.encoded(np.tile(np.arange(200, dtype=np.uint8)[:, None], (150, 1, 3)), "JPEG")
    ours = image.decode(photo, image.Resize(224)).astype(int)
    for variables, most in (({"BENCH_OUR_DECODER": "1"}, 0), ({}, 3)):
        told = subprocess.run(
            [sys.executable, "-c", code], input=photo, capture_output=True, check=True,
            env={**os.environ, "PYTHONPATH": folder, **variables},
        )  # fmt: skip
        theirs = np.frombuffer(told.stdout, np.uint8).reshape(224, 224, 3)
        assert np.abs(theirs - ours).max() <= most


def test_the_page_shows_every_server_also_those_that_did_not_start(tmp_path: Path) -> None:
    report.write(tmp_path, results(), ["a machine"], "python -m bench server", ["a remark"])
    page = (tmp_path / "server.md").read_text()
    assert "| Gone | not measured: did not start: no such model |" in page
    assert "**missed**" in page
    assert "a remark" in page
    for name in ("throughput.png", "latency.png"):
        content = (tmp_path / name).read_bytes()
        assert len(content) < 200_000
        assert Image.open(io.BytesIO(content)).width > 600
        assert f"({name})" in page
