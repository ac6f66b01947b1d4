"""What flow runs have in common."""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prefect.states import Failed

from flows import retrain, run
from flows.tune import tune
from pawloop import durable
from pawloop import problem as problems
from pawloop.errors import BusyError, SourceError


def test_the_second_retrain_of_a_problem_is_told_who_holds_it(tmp_path: Path) -> None:
    spec = problems.load("cat-vs-dog")
    with (
        run.only_one(tmp_path, spec),
        pytest.raises(BusyError, match="held by retrain run"),
        run.only_one(tmp_path, spec),
    ):
        pass


def test_a_search_waits_while_a_retrain_divides_the_photos(tmp_path: Path) -> None:
    spec, done = problems.load("cat-vs-dog"), list[str]()

    def other() -> None:
        with run.alone_with_photos(tmp_path, spec):
            done.append("search")

    with ThreadPoolExecutor() as pool:
        with run.alone_with_photos(tmp_path, spec):
            waiting = pool.submit(other)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
            done.append("retrain")
        waiting.result(10)
    assert done == ["retrain", "search"]


def test_a_search_for_nights_that_never_fine_tune_is_skipped_before_photos_are_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "heads.toml"
    file.write_text(
        'name = "heads"\nclasses = ["cat", "dog"]\n'
        '[data]\nsources = ["sample://pets?count=40"]\n[train]\nfine_tune = "never"\n'
    )
    monkeypatch.setenv("PAWLOOP_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(retrain, "pretrained", lambda *_: pytest.fail("time was spent"))
    monkeypatch.setattr(run, "rename", lambda *_: None)
    told = tune.fn(str(file))
    assert told.is_completed()
    assert told.name == "Skipped"
    assert re.search(r'fine_tune = "never".*set it to "auto"', told.message or "")


def test_another_problem_may_retrain_meanwhile(tmp_path: Path) -> None:
    spec = problems.load("cat-vs-dog")
    with run.only_one(tmp_path, spec), run.only_one(tmp_path, spec.model_copy(update={"name": "tools"})):
        assert len(list((tmp_path / "locks").iterdir())) == 2


@pytest.mark.parametrize(
    ("error", "is_tried_again"),
    [(httpx.ConnectError("no route"), True), (OSError("disk"), True), (SourceError("no such folder"), False)],
)
def test_only_what_may_pass_by_itself_is_tried_again(error: Exception, is_tried_again: bool) -> None:
    assert run.by_chance(None, None, Failed(data=error)) is is_tried_again  # type: ignore[arg-type]


def test_an_end_that_is_written_is_no_failure_for_what_is_only_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("no table today")

    monkeypatch.setattr(run, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(run, "create_table_artifact", refused)
    monkeypatch.setattr(run, "rename", refused)
    spec = problems.load("cat-vs-dog")

    run.show_experiments(tmp_path, spec)

    assert run.ended(spec, "Version 3", "better").name == "Version 3"
    assert "Not shown: the table of experiments" in caplog.text
    assert "Not shown: its name" in caplog.text


def test_a_lock_left_by_a_dead_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "cat-vs-dog.lock"
    path.parent.mkdir()
    path.write_text("retrain run x (process 1 on elsewhere, since yesterday)")
    with durable.lock(path, "another"):
        assert "another" in path.read_text()
