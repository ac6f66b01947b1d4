"""Release: confirm by a live server, promotion by hand, and a version found again."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pawloop import durable
from pawloop.card import Card, Verdict
from pawloop.errors import ConfirmError, DamagedVersionError, RegistryError
from pawloop.registry import Registry
from tasks import release
from tasks.answer import Answers
from tasks.evaluate import evaluate
from tests import published


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Version 1 has served, version 2 was just promoted."""
    for number in (1, 2):
        published.promote(tmp_path, published.publish(tmp_path))
        assert Registry(tmp_path, "colours").aliases().champion == number
    return Registry(tmp_path, "colours")


def says(*answers: dict[str, Any] | Exception) -> Callable[[str], dict[str, Any]]:
    """A server that gives these answers in turn, the last one for ever."""
    left = list(answers)

    def ask(url: str) -> dict[str, Any]:
        assert url == "http://server/readyz"
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def serving(version: int, refused: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"ready": True, "model": {"name": "colours", "version": version}, "refused": refused or []}


def test_a_server_that_comes_to_serve_the_version_confirms_it(registry: Registry) -> None:
    ask = says(httpx.ConnectError("not yet"), serving(1), serving(2))
    assert "serves version 2" in release.confirm(registry, 2, 1, "http://server", 10, ask).told
    assert registry.aliases().champion == 2


def test_the_version_of_that_number_from_a_store_of_before_is_none_that_confirms(registry: Registry) -> None:
    ask = says(serving(2) | {"run": "another"}, serving(2) | {"run": registry.version(2).card.run})
    assert release.confirm(registry, 2, 1, "http://server", 10, ask).is_so
    with pytest.raises(ConfirmError, match="it serves colours version 2"):
        release.confirm(registry, 2, 1, "http://server", 0.1, says(serving(2) | {"run": "another"}))


def test_a_version_that_the_server_refuses_is_taken_back_and_marked(registry: Registry) -> None:
    ask = says(serving(1, [{"version": 2, "reason": "its self-test differs", "at": "now"}]))
    with pytest.raises(ConfirmError, match="its self-test differs"):
        release.confirm(registry, 2, 1, "http://server", 10, ask)
    assert registry.aliases().champion == 1
    assert "its self-test differs" in str(registry.version(2).rejection)


def test_a_server_that_stays_silent_about_it_has_the_promotion_taken_back(registry: Registry) -> None:
    with pytest.raises(ConfirmError, match="version 1 is champion again"):
        release.confirm(registry, 2, 1, "http://server", 0.6, says(httpx.ConnectError("refused")))
    assert registry.aliases().champion == 1


def test_a_server_of_another_problem_has_no_say(registry: Registry) -> None:
    other = {"ready": True, "problem": "tools", "model": {"name": "tools", "version": 2}, "refused": []}
    assert (
        "serves the problem tools" in release.confirm(registry, 2, 1, "http://server", 10, says(other)).told
    )
    assert registry.aliases().champion == 2


def test_without_a_server_nothing_is_asked(registry: Registry) -> None:
    assert "no server was asked" in release.confirm(registry, 2, 1, "", 10).told


def refused_run(store: Path, name: str = "20260101-000000-aaaa") -> Path:
    """A run whose candidate the gate refused."""
    version = published.publish(store)
    verdict = Verdict(outcome="refuse", summary="refused: accuracy", bars=[])
    folder = store / "runs" / name / "candidate"
    folder.mkdir(parents=True)
    for path in version.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    judged = evaluate(Answers.of(np.eye(2)), np.array([0, 1]), ("cat", "dog"), version.card.costs)
    card = version.card.model_copy(
        update={"version": 0, "verdict": verdict, "files": {}, "metrics": {"float32": judged.for_card()}}
    )
    (folder / "card.json").write_text(card.model_dump_json())
    return folder


def test_a_refused_challenger_needs_a_reason_to_be_promoted(registry: Registry, tmp_path: Path) -> None:
    refused_run(tmp_path)
    with pytest.raises(RegistryError, match="--despite"):
        release.promote_by_hand(tmp_path, registry, "20260101-000000-aaaa", None)
    version = release.promote_by_hand(tmp_path, registry, "20260101", "checked by eye")
    assert registry.aliases().champion == version.number
    assert registry.version(version.number).card.verdict.despite == "checked by eye"


def test_a_candidate_whose_file_was_damaged_since_is_not_promoted(registry: Registry, tmp_path: Path) -> None:
    folder = refused_run(tmp_path)
    card = Card.model_validate_json((folder / "card.json").read_bytes())
    hashes = {"model.onnx": durable.sha256(folder / "model.onnx")}
    (folder / "card.json").write_text(card.model_copy(update={"files": hashes}).model_dump_json())
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-1])
    before = registry.aliases().champion

    with pytest.raises(DamagedVersionError, match=r"model\.onnx"):
        release.promote_by_hand(tmp_path, registry, "20260101-000000-aaaa", "checked by eye")

    assert registry.aliases().champion == before


def test_promoting_what_does_not_exist_says_so(registry: Registry, tmp_path: Path) -> None:
    for run in ("nonsense", ""):
        with pytest.raises(RegistryError, match=r"neither a version number.*`pawloop experiments list` runs"):
            release.promote_by_hand(tmp_path, registry, run, None)
    with pytest.raises(RegistryError, match="no version 99"):
        release.promote_by_hand(tmp_path, registry, "99", None)


@pytest.mark.parametrize("how", ["rejected", "shadow"])
def test_a_version_that_was_found_wanting_needs_a_reason_which_is_kept(
    registry: Registry, tmp_path: Path, how: str
) -> None:
    number = published.publish(tmp_path).number
    if how == "rejected":
        registry.reject(number, "the server refused it")
    else:
        registry.note_shadow(number, Verdict(outcome="cannot tell", summary="too few photos", bars=[]))
    with pytest.raises(RegistryError, match="--despite"):
        release.promote_by_hand(tmp_path, registry, str(number), None)
    release.promote_by_hand(tmp_path, registry, str(number), "checked by eye")
    assert registry.aliases().champion == number
    version = registry.version(number)
    assert (version.overruled, version.rejection) == ("checked by eye", None)


def test_a_candidate_published_before_its_run_was_killed_is_found_again(registry: Registry) -> None:
    first = registry.version(2)
    assert release.published(registry, first.card.model_copy(update={"version": 0})) == first
    other = first.card.verdict.model_copy(update={"outcome": "refuse"})
    assert release.published(registry, first.card.model_copy(update={"verdict": other})) is None
    registry.reject(2, "the server refused it")
    registry.reject(1, "the server refused it")
    assert release.published(registry, first.card) is None


def test_promoting_the_champion_again_keeps_the_way_back(registry: Registry, tmp_path: Path) -> None:
    before = registry.aliases()
    release.promote_by_hand(tmp_path, registry, str(before.champion), None)
    assert registry.aliases() == before
    refused_run(tmp_path)
    first = release.promote_by_hand(tmp_path, registry, "20260101-000000-aaaa", "checked by eye")
    again = release.promote_by_hand(tmp_path, registry, "20260101-000000-aaaa", "checked by eye")
    assert again == first
    assert registry.aliases().previous == before.champion


def test_a_proxy_that_answers_in_the_servers_place_is_waited_for_and_told(registry: Registry) -> None:
    class BadGateway(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(502)
            self.end_headers()
            self.wfile.write(b"<h1>502 Bad Gateway</h1>")

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), BadGateway) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{proxy.server_port}"
        assert release.refusal(registry, 2, url) is None
        with pytest.raises(ConfirmError, match="answers 502 and no JSON"):
            release.confirm(registry, 2, 1, url, 1.0)
        proxy.shutdown()


def test_a_run_whose_version_was_rejected_since_is_that_version(registry: Registry, tmp_path: Path) -> None:
    refused_run(tmp_path)
    version = release.promote_by_hand(tmp_path, registry, "20260101-000000-aaaa", "checked by eye")
    registry.rollback("a test")
    registry.reject(version.number, "the server refused it")
    again = release.promote_by_hand(tmp_path, registry, "20260101-000000-aaaa", "by eye once more")
    assert again.number == version.number
    assert registry.version(version.number).overruled == "by eye once more"


def test_a_kill_while_a_promotion_is_taken_back_leaves_no_rejected_champion(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "reject", killed)
    with pytest.raises(KeyboardInterrupt):
        release.confirm(registry, 2, 1, "http://server", 0.1, says(serving(1)))
    assert registry.aliases().champion == 1


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_promotion_that_somebody_moved_on_from_is_rejected_only_where_the_server_refused_it(
    registry: Registry, is_refused: bool
) -> None:
    refused = [{"version": 2, "reason": "its self-test differs", "at": "now"}] if is_refused else []

    def moved(url: str) -> dict[str, Any]:
        if registry.aliases().champion == 2:
            registry.promote(1, "by hand", expected=2, by="person")
        return serving(1, refused)

    rejected = pytest.raises(ConfirmError, match="version 1 is champion by now")
    with rejected if is_refused else nullcontext():
        found = release.confirm(registry, 2, None, "http://server", 10, moved)
        assert (found.is_so, "version 1 is champion by now" in found.told) == (False, True)
    assert registry.aliases().champion == 1
    assert (registry.version(2).rejection is not None) == is_refused
    assert registry.aliases().taken_back(2)


def test_what_the_server_tries_again_by_itself_is_no_refusal(registry: Registry) -> None:
    passing = serving(1, [{"version": 2, "reason": "too many open files", "at": "now", "may_pass": True}])
    assert release.confirm(registry, 2, 1, "http://server", 10, says(passing, serving(2))).is_so
    assert registry.version(2).rejection is None
    with pytest.raises(ConfirmError, match="too many open files"):
        release.confirm(registry, 2, 1, "http://server", 0.6, says(passing))
