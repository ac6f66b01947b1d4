from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from pawloop import durable
from pawloop.card import Card
from pawloop.errors import ProblemFileError, RegistryError
from pawloop.registry import Registry, Version, read_card
from serve import watcher
from serve.app import create_app
from tests import published
from tests.serve.running import Running, running, settings, until

RED = published.photo("red")


def number(server: Running) -> int | None:
    with server.client() as client:
        model = client.get("/readyz").json()["model"]
    return model["version"] if model else None


def cut_in_half(version: Version) -> None:
    path = version.folder / "model.onnx"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_no_request_fails_while_models_are_swapped_under_load(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    statuses: list[int] = []
    seen: set[int] = set()
    over = threading.Event()

    def load(server: Running) -> None:
        with server.client() as client:
            while not over.is_set():
                response = client.post("/predict", content=RED)
                statuses.append(response.status_code)
                seen.add(response.json()["model"]["version"])

    with running(settings(tmp_path)) as server:
        threads = [threading.Thread(target=load, args=(server,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for swap in range(11):
            until(lambda wanted=swap + 1: wanted in seen)  # type: ignore[misc]  # mypy issue 4226
            published.champion(store, tilt=swap / 10)
        over.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert len(statuses) > 100
    assert seen >= set(range(1, 12))


def test_a_damaged_champion_is_refused_and_told_and_the_old_one_stays(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    with running(settings(tmp_path)) as server:
        version = published.publish(store, tilt=1.0)
        published.promote(store, version)  # whole, so promotion lets it pass
        until(lambda: number(server) == 2)
        damaged = published.publish(store)
        registry = Registry(store, "colours")
        registry.promote(damaged.number, "a test", expected=2)
        until(lambda: number(server) == 3)
        published.promote(store, version)
        until(lambda: number(server) == 2)
        cut_in_half(damaged)
        _force_champion(registry, damaged.number)
        with server.client() as client:
            until(lambda: client.get("/readyz").json()["refused"])
            told = client.get("/readyz").json()
            assert told["ready"]
            assert told["model"]["version"] == 2
            assert told["refused"][0]["version"] == 3
            assert told["refused"][0]["reason"].startswith("models/colours/3/model.onnx: ")
            assert client.post("/predict", content=RED).json()["model"]["version"] == 2


def test_a_server_restarted_with_a_damaged_champion_serves_previous_and_says_so(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    cut_in_half(published.champion(store))
    with running(settings(tmp_path)) as server, server.client() as client:
        told = client.get("/readyz").json()
        assert told["model"] == {"name": "colours", "version": 1}
        assert [refusal["version"] for refusal in told["refused"]] == [2]
        assert client.post("/predict", content=RED).json()["model"]["version"] == 1


def test_a_server_whose_only_version_is_damaged_says_so_wherever_it_is_asked(tmp_path: Path) -> None:
    cut_in_half(published.champion(tmp_path / "store"))
    with running(settings(tmp_path)) as server, server.client() as client:
        refused = client.post("/predict", content=RED)
        assert refused.status_code == 503
        for told in (refused.json()["detail"], client.get("/readyz").json()["detail"]):
            assert "version 1, the champion, was refused: " in told
            assert "Run a retrain" in told
            assert str(tmp_path) not in told
        published.champion(tmp_path / "store")
        until(lambda: client.get("/readyz").status_code == 200)


def test_aliases_that_cannot_be_read_at_the_start_are_told_wherever_it_is_asked(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    aliases = Registry(tmp_path / "store", "colours").folder / "aliases.json"
    whole = aliases.read_bytes()
    aliases.write_bytes(whole[: len(whole) // 2])
    with running(settings(tmp_path)) as server, server.client() as client:
        refused = client.post("/predict", content=RED)
        ready = client.get("/readyz")
        assert (refused.status_code, ready.status_code) == (503, 503)
        for told in (refused.json()["detail"], ready.json()["detail"]):
            assert "models/colours/aliases.json: cannot be read" in told
            assert str(tmp_path) not in told
            assert "no model yet" not in told
        aliases.unlink()
        until(lambda: client.get("/readyz").json()["detail"] == "no model yet, run a retrain")
        aliases.write_bytes(whole)
        until(lambda: client.get("/readyz").status_code == 200)


def test_a_server_without_a_model_starts_and_takes_the_first_champion(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as server, server.client() as client:
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["detail"] == "no model yet, run a retrain"
        assert client.get("/healthz").status_code == 200
        refused = client.post("/predict", content=RED)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/model").status_code == 503
        assert client.get("/models").json() == {"name": "colours", "versions": []}
        published.champion(tmp_path / "store")
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.post("/predict", content=RED).status_code == 200


def test_a_store_that_began_anew_is_followed_though_its_numbers_are_the_same(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    with running(settings(tmp_path)) as server, server.client() as client:
        assert client.post("/predict", content=RED).json()["probability"] > 0.9
        shutil.rmtree(store / "models" / "colours")
        published.champion(store, tilt=-50.0)
        until(lambda: client.post("/predict", content=RED).json()["label"] == "dog")
        assert number(server) == 1


def test_a_refusal_is_forgotten_with_its_version(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    with running(settings(tmp_path)) as server, server.client() as client:
        broken = published.publish(store, wrong_self_test=("float32",))
        published.promote(store, broken)
        until(lambda: client.get("/readyz").json()["refused"])
        Registry(store, "colours").rollback("it is broken")
        shutil.rmtree(broken.folder)
        sound = published.champion(store)
        until(lambda: number(server) == sound.number)
        assert client.get("/readyz").json()["refused"] == []


def test_the_metrics_tell_of_a_champion_that_does_not_serve_as_long_as_that_lasts(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    cut_in_half(published.champion(store))
    registry = Registry(store, "colours")
    aliases = registry.folder / "aliases.json"
    with running(settings(tmp_path)) as server, server.client() as client:

        def is_behind() -> bool:
            return "\npawloop_behind 1.0\n" in client.get("/metrics").text

        assert is_behind()  # from the first look on
        registry.rollback("it is broken")
        until(lambda: not is_behind())
        whole = aliases.read_bytes()
        aliases.write_bytes(whole[:20])
        until(is_behind)
        aliases.write_bytes(whole)
        until(lambda: not is_behind())


def test_a_withdrawn_champion_leaves_service(tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = published.champion(store)
    with running(settings(tmp_path)) as server, server.client() as client:
        Registry(store, "colours").restore(None, "confirm failed", expected=first.number)
        until(lambda: client.get("/readyz").status_code == 503)
        until(lambda: "was withdrawn" in client.get("/readyz").json()["detail"])


def test_a_refused_champion_that_was_withdrawn_is_no_longer_what_is_wrong(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.promote(store, published.publish(store, wrong_self_test=["float32"]))
    with running(settings(tmp_path)) as server, server.client() as client:
        until(lambda: "was refused" in client.get("/readyz").json()["detail"])
        Registry(store, "colours").restore(None, "confirm failed", expected=1)
        until(lambda: "was withdrawn" in client.get("/readyz").json()["detail"])


@pytest.mark.parametrize("what", ["load", "aliases"])
def test_a_fault_that_passes_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    store = tmp_path / "store"
    published.champion(store)
    with running(settings(tmp_path)) as server:
        broken = threading.Event()
        broken.set()
        registry = server.live.watcher.registry
        whole = {"load": watcher.load, "aliases": registry.aliases}[what]

        def failing(*given: Any, **named: Any) -> Any:  # Any: of either
            if broken.is_set():
                raise {"load": OSError(24, "Too many open files"), "aliases": RegistryError("no")}[what]
            return whole(*given, **named)

        monkeypatch.setattr(watcher, "_TRY_AGAIN_S", 0.2)
        promoted = published.publish(store)
        monkeypatch.setattr(watcher if what == "load" else registry, what, failing)
        published.promote(store, promoted)
        time.sleep(0.8)
        assert number(server) == 1
        broken.clear()
        until(lambda: number(server) == 2)
        with server.client() as client:
            assert client.get("/readyz").json()["refused"] == []


def test_an_unreadable_alias_file_changes_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    with running(settings(tmp_path)) as server:
        (store / "models" / "colours" / "aliases.json").write_text("{")
        server.live.watcher.look()
        assert number(server) == 1


def test_an_unknown_problem_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(ProblemFileError, match="no problem"):
        create_app(settings(tmp_path, problem="horses"))


def test_the_list_of_versions_tells_parts_and_numbers(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    published.champion(store)
    Registry(store, "colours").reject(1, "confirm failed")
    with running(settings(tmp_path)) as server, server.client() as client:
        newest, oldest = client.get("/models").json()["versions"]
        card = client.get("/model").json()
    assert newest["aliases"] == ["champion"]
    assert newest["is_serving"]
    assert newest["metrics"]["float32"]["accuracy"] == 0.99
    assert (oldest["aliases"], oldest["rejected"]) == (["previous"], "confirm failed")
    assert (card["version"], card["precision"], card["classes"]) == (2, "float32", ["cat", "dog"])


def test_a_card_is_read_again_for_the_list_only_when_its_files_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    published.champion(store)
    published.publish(store)
    with running(settings(tmp_path)) as server, server.client() as client:
        first = client.get("/models").json()
        read: list[str] = []

        def noted(folder: Path) -> Card:
            read.append(folder.name)
            return read_card(folder)

        monkeypatch.setattr("pawloop.registry.read_card", noted)
        assert client.get("/models").json() == first
        assert read == []
        Registry(store, "colours").reject(2, "too slow")
        assert client.get("/models").json()["versions"][0]["rejected"] == "too slow"
        assert read == ["2"]
        card = store / "models" / "colours" / "1" / "card.json"
        durable.write_bytes(card, card.read_bytes().replace(b'"mobilenet_v2"', b'"mobilenet_v3"'))
        Registry(store, "colours").nominate(2)
        newest, oldest = client.get("/models").json()["versions"]
        assert (newest["aliases"], oldest["backbone"]) == (["challenger"], "mobilenet_v3")


def test_a_version_with_a_damaged_note_leaves_the_others_in_the_list(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    published.champion(store)
    (Registry(store, "colours").folder / "1" / "rejected.json").write_text("")
    with running(settings(tmp_path)) as server, server.client() as client:
        newest, oldest = client.get("/models").json()["versions"]
    assert newest["is_serving"]
    assert "rejected.json" in oldest["damaged"]


def test_overload_is_answered_with_503_and_a_time_to_come_back(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with running(settings(tmp_path, queue=1, threads=1)) as server:
        answers: list[httpx.Response] = []

        def ask() -> None:
            with server.client() as client:
                answers.extend(client.post("/predict", content=RED) for _ in range(30))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert refused[0].json()["title"] == "overloaded"


def _force_champion(registry: Registry, number: int) -> None:
    """Point the alias at a version that promotion would not let pass."""
    aliases = registry.aliases()
    moved = aliases.model_copy(update={"champion": number, "serial": aliases.serial + 1})
    draft = registry.folder / "draft"
    draft.write_text(moved.model_dump_json())
    draft.replace(registry.folder / "aliases.json")


def test_a_refused_version_whose_files_are_restored_comes_into_service(tmp_path: Path) -> None:
    version = published.champion(tmp_path / "store")
    copy = shutil.copytree(version.folder, tmp_path / "copy")
    cut_in_half(version)
    with running(settings(tmp_path)) as server, server.client() as client:
        assert client.get("/readyz").status_code == 503
        shutil.copy(copy / "model.onnx", version.folder)
        until(lambda: client.get("/readyz").status_code == 200)


def test_a_champion_whose_folder_comes_after_its_alias_comes_into_service(tmp_path: Path) -> None:
    version = published.champion(tmp_path / "store")
    elsewhere = version.folder.rename(tmp_path / "copy")
    with running(settings(tmp_path)) as server, server.client() as client:
        assert client.get("/readyz").status_code == 503
        shutil.copytree(elsewhere, version.folder)
        until(lambda: client.get("/readyz").status_code == 200)
