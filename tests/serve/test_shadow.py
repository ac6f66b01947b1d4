from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pawloop import problem as problems
from pawloop.journal import Journal
from pawloop.registry import Registry
from pawloop.sections import Shadow
from tasks import release, shadowing
from tests import published
from tests.serve.running import running, settings, until


def test_a_challenger_answers_the_same_photos_to_the_journal_alone(tmp_path: Path) -> None:
    configured = settings(tmp_path, journal="")
    registry = Registry(configured.store, "colours")
    published.champion(configured.store)
    contrary = published.publish(configured.store, tilt=-20)
    with running(configured) as server, server.client() as client:
        registry.nominate(contrary.number)
        until(lambda: server.live.shadow.number == 2)
        answers = []
        for colour in ("red", "blue", "red"):
            seen = server.live.shadow.answered
            answers.append(client.post("/predict", content=published.photo(colour)).json())
            until(lambda seen=seen: server.live.shadow.answered > seen)  # type: ignore[misc]  # mypy 4226
        assert client.get("/readyz").json()["model"]["version"] == 1
        assert "pawloop_shadow_disagreements_total 2.0" in client.get("/metrics").text
        assert client.get("/models").json()["versions"][0]["aliases"] == ["challenger"]
        registry.nominate(None)
        until(lambda: server.live.shadow.number is None)
    assert [(answer["label"], answer["model"]["version"]) for answer in answers] == [
        ("cat", 1), ("dog", 1), ("cat", 1),
    ]  # fmt: skip
    assert configured.journal_url
    journal = Journal(configured.journal_url)
    theirs = {row.id: row.label for row in journal.predictions("colours", "challenger")}
    assert theirs == {answer["id"]: "dog" for answer in answers}
    assert len(list(journal.predictions("colours", "champion"))) == 3


def test_a_challenger_of_a_store_that_began_anew_is_followed_though_its_number_is_the_same(
    tmp_path: Path,
) -> None:
    configured = settings(tmp_path, journal="")
    registry = Registry(configured.store, "colours")
    published.champion(configured.store)
    registry.nominate(published.publish(configured.store, tilt=0.1).number)
    with running(configured) as server, server.client() as client:
        until(lambda: server.live.shadow.number == 2)
        shutil.rmtree(registry.folder)
        published.champion(configured.store)
        registry.nominate(published.publish(configured.store, tilt=-20).number)

        def disagrees() -> bool:
            client.post("/predict", content=published.photo("red"))
            return server.live.shadow.disagreed > 0

        until(disagrees)
        assert server.live.shadow.number == 2


def test_a_challenger_that_is_damaged_is_refused_and_disturbs_nobody(tmp_path: Path) -> None:
    configured = settings(tmp_path)
    published.champion(configured.store)
    wrong = published.publish(configured.store, wrong_self_test=["float32"])
    Registry(configured.store, "colours").nominate(wrong.number)
    with running(configured) as server, server.client() as client:
        told = client.get("/readyz").json()
        assert told["model"]["version"] == 1
        assert [refusal["version"] for refusal in told["refused"]] == [2]
        assert client.post("/predict", content=published.photo("red")).status_code == 200


def test_a_retrain_promotes_once_live_photos_were_answered_beside_the_champion(tmp_path: Path) -> None:
    configured = settings(tmp_path, journal="")
    registry = Registry(configured.store, "colours")
    published.champion(configured.store)
    number = published.publish(configured.store, tilt=0.1).number
    asked = problems.load(configured.problem).model_copy(update={"shadow": Shadow(photos=3, patience_s=60)})
    with running(configured) as server, ThreadPoolExecutor(1) as flow:
        refusal = partial(release.refusal, registry, number, server.url)
        found = flow.submit(shadowing.observed, registry, number, asked, configured.journal_url, refusal)
        with server.client() as client:
            until(lambda: server.live.shadow.number == number)
            photos = (published.photo((shade, 0, 0)) for shade in range(255, 0, -1))
            until(lambda: client.post("/predict", content=next(photos)).is_success and found.done(), 30)
            verdict = found.result()
            registry.promote(number, verdict.summary, expected=1)
            until(lambda: client.get("/readyz").json()["model"]["version"] == number)
            until(lambda: server.live.shadow.number is None)
    assert verdict.outcome == "promote"
    assert registry.aliases().challenger is None
