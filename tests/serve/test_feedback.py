from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sqlite3
import threading
import time
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest

from pawloop.errors import JournalError, OverloadedError
from pawloop.image import photo_id
from pawloop.journal import Journal
from pawloop.journal_rows import Prediction
from pawloop.settings import Settings
from serve import answer as answering
from serve import kept
from serve import recorder as recording
from serve.answer import Answer, new_id
from serve.app import create_app
from serve.jobs import Done, Job
from serve.kept import KeptPhotos
from serve.loading import Serving, load
from serve.recorder import Recorder
from serve.state import Live
from tests import published
from tests.serve.running import Running, running, settings, until


@pytest.fixture
def journaled(tmp_path: Path) -> Settings:
    published.champion(tmp_path / "store")
    return settings(tmp_path, journal="")


def opened(configured: Settings) -> Journal:
    assert configured.journal_url
    return Journal(configured.journal_url)


def ask(server: Running, colour: str | tuple[int, int, int] = "red") -> str:
    with server.client() as client:
        return str(client.post("/predict", content=published.photo(colour)).json()["id"])


def correct(server: Running, prediction_id: object, label: object) -> httpx.Response:
    with server.client() as client:
        # By itself httpx writes no escapes, so half a pair of surrogates cannot be sent.
        content = json.dumps({"id": prediction_id, "label": label})
        return client.post("/feedback", content=content, headers={"content-type": "application/json"})


@pytest.mark.parametrize("path", ["/predict", "/v2/models/colours/infer"])
def test_answers_that_nobody_was_given_are_not_journaled(tmp_path: Path, path: str) -> None:
    published.champion(tmp_path / "store")
    configured = settings(tmp_path, journal="", threads=1)
    photos = [base64.b64encode(published.photo("red")).decode()] * 3
    tensor = {"name": "photo", "datatype": "BYTES", "shape": [3], "data": photos}
    body = {"images": photos} if path == "/predict" else {"inputs": [tensor]}
    with running(configured) as server, server.client() as client:
        worked: list[int] = []
        put = server.live.engine.put

        def full_at_last(job: Job[object]) -> None:
            worked.append(1)
            if len(worked) == 3:
                raise OverloadedError("the queue is full", 1)
            put(job)

        server.live.engine.put = full_at_last  # type: ignore[method-assign]
        assert client.post(path, json=body).status_code == 503
        server.live.engine.put = put  # type: ignore[method-assign]
        assert client.post(path, json=body).status_code == 200
    with closing(sqlite3.connect(tmp_path / "store" / "state" / "journal.db")) as journal:
        assert journal.execute("select count(*) from predictions").fetchone() == (3,)


def test_a_correction_is_in_the_journal_when_it_is_acknowledged(journaled: Settings) -> None:
    with running(journaled) as server:
        prediction_id = ask(server)
        assert correct(server, prediction_id, "dog").json() == {"id": prediction_id, "label": "dog"}
        (found,) = opened(journaled).labelled("colours")
    assert found.label.label == "dog"
    assert found.photo_id == hashlib.sha256(published.photo("red")).hexdigest()


def test_a_correction_can_be_taken_back(journaled: Settings) -> None:
    with running(journaled) as server:
        prediction_id = ask(server)
        correct(server, prediction_id, "dog")
        assert correct(server, prediction_id, None).json() == {"id": prediction_id, "label": None}
        assert list(opened(journaled).labelled("colours")) == []
        assert correct(server, "7", None).status_code == 422


def test_a_correction_of_an_answer_that_is_not_written_yet_is_accepted(journaled: Settings) -> None:
    with running(journaled) as server:
        assert correct(server, new_id(), "dog").status_code == 200


@pytest.mark.parametrize(
    ("prediction_id", "label", "words"),
    [
        ("019aaf0e-7c1b-7d6a-9d53-6e1c6a4b8f10", "dogg", 'did you mean "dog"'),
        ("7", "dog", "no id of a prediction"),
        ("00000000-0000-4000-8000-000000000000", "dog", "no id of a prediction"),
        (None, "dog", "both as text"),
        ("019aaf0e-7c1b-7d6a-9d53-6e1c6a4b8f10", "\ud800", "is no class"),
        ("\ud800", "dog", "no id of a prediction"),
    ],
)
def test_a_correction_that_makes_no_sense_is_refused(
    journaled: Settings, prediction_id: object, label: str, words: str
) -> None:
    with running(journaled) as server:
        refused = correct(server, prediction_id, label)
    assert refused.status_code == 422
    assert words in refused.json()["detail"]


def test_stopping_the_server_writes_every_answer(journaled: Settings) -> None:
    with running(journaled) as server:
        ids = [ask(server) for _ in range(20)]
    assert {row.id for row in opened(journaled).predictions("colours")} == set(ids)


class Slow(Job[Answer]):
    """A job that leaves its answer to the event loop, which is about to end."""

    def __init__(self, live: Live) -> None:
        super().__init__(time.monotonic() + 60)
        self.live = live
        self.loop = asyncio.get_running_loop()

    def work(self, serving: Serving) -> Answer:
        time.sleep(0.3)
        return answering.answer(serving, published.photo("red"), 10_000)

    def settle(self, outcome: Done[Answer] | BaseException) -> None:
        assert isinstance(outcome, Done)
        self.loop.call_soon_threadsafe(self.live.recorder.record, outcome.value, published.photo("red"), 0.3)

    def dropped(self) -> None:
        pass


def test_an_answer_that_is_found_while_the_server_stops_is_written_too(journaled: Settings) -> None:
    async def serve() -> None:
        app = create_app(journaled)
        async with app.router.lifespan_context(app):
            app.state.live.engine.put(Slow(app.state.live))

    asyncio.run(serve())
    assert len(list(opened(journaled).predictions("colours"))) == 1


def test_without_a_journal_a_correction_is_refused_in_words(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with running(settings(tmp_path, journal="off")) as server:
        refused = correct(server, ask(server), "dog")
    assert refused.status_code == 409
    assert "PAWLOOP_JOURNAL" in refused.json()["detail"]


def test_answers_are_kept_as_photos_under_their_id(journaled: Settings) -> None:
    with running(journaled) as server:
        ask(server)
    (row,) = opened(journaled).predictions("colours")
    assert row.is_kept
    kept = journaled.store / "photos" / "journal" / row.photo_id[:2] / row.photo_id
    assert kept.read_bytes() == published.photo("red")


def test_where_no_photos_are_to_be_kept_none_is(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    private = settings(tmp_path, journal="", keep_photos=0)
    with running(private) as server:
        ask(server)
    assert [row.is_kept for row in opened(private).predictions("colours")] == [False]
    assert not (private.store / "photos").exists()


def test_past_the_quota_the_oldest_photos_without_a_label_go(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    small = settings(tmp_path, journal="", keep_photos_mb=1)
    noise = [_noise(n) for n in range(6)]
    with running(small) as server:
        ids = []
        for photo in noise:
            with server.client() as client:
                ids.append(client.post("/predict", content=photo).json()["id"])
            correct(server, ids[0], "cat")  # writes what waits
    rows = {row.id: row for row in opened(small).predictions("colours")}
    files = list((small.store / "photos" / "journal").glob("*/*"))
    assert sum(path.stat().st_size for path in files) <= 10**6
    assert rows[ids[0]].is_kept, "a labelled photo stays"
    assert not rows[ids[1]].is_kept
    assert {path.name for path in files} == {row.photo_id for row in rows.values() if row.is_kept}


def test_room_is_made_bit_by_bit_until_a_tenth_is_free(
    journaled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pawloop.journal._GONE_AT_ONCE", 2)
    folder, journal = KeptPhotos(settings(journaled.store.parent, keep_photos_mb=1)), opened(journaled)
    photos = [bytes([number]) * 99_000 for number in range(12)]
    assert all(folder.keep(photo_id(photo), photo) for photo in photos)
    journal.add([_answered(number, photo_id(photo)) for number, photo in enumerate(photos)])
    left = []
    for _ in range(4):
        folder.shrink(journal)
        left.append(sum(row.is_kept for row in journal.predictions("colours")))
    assert left == [10, 9, 9, 9]
    assert [folder.path(photo_id(photo)).exists() for photo in photos] == 3 * [False] + 9 * [True]


def _answered(number: int, photo_id: str) -> Prediction:
    at = datetime(2026, 11, 24, 12, 0, number, tzinfo=UTC)
    return Prediction(
        new_id(), at, photo_id, "champion", "colours", 1, "float32", "cat", {"cat": 1.0}, None, 1.0, True
    )


def test_a_journal_that_cannot_be_written_loses_answers_and_counts_them(tmp_path: Path) -> None:
    configured = settings(tmp_path, journal="sqlite:////proc/nowhere/journal.db")
    recorder = Recorder(configured)
    serving = load(published.publish(tmp_path / "store"), configured)
    recorder.record(Answer(new_id(), serving, "cat", (0.9, 0.1), None, 0.001, 0.001), b"photo", 0.002)
    with pytest.raises(JournalError):
        recorder.judge(new_id(), "cat").result(5)
    until(lambda: recorder.lost == 1)
    recorder.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "journal"]


def _noise(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (300, 300, 3), np.uint8)
    return published.encoded(pixels)  # about 270 kB


def test_photos_through_v2_are_journaled_and_named_and_pixels_are_not(journaled: Settings) -> None:
    sent = [published.photo("blue"), published.photo("red")]
    encoded = [base64.b64encode(photo).decode() for photo in sent]
    photos = {"name": "photo", "datatype": "BYTES", "shape": [2], "data": encoded}
    pixels = {"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [7] * 3072}
    with running(journaled) as server, server.client() as client:
        answered = client.post("/v2/models/colours/infer", json={"inputs": [photos]}).json()
        silent = client.post("/v2/models/colours/infer", json={"inputs": [pixels]}).json()
        ids = answered["parameters"]["prediction_ids"].split(",")
        assert correct(server, ids[0], "cat").status_code == 200
    assert "parameters" not in silent
    photo_of = {one.id: one.photo_id for one in opened(journaled).predictions("colours")}
    assert [photo_of.pop(one) for one in ids] == [photo_id(photo) for photo in sent]
    assert photo_of == {}
    assert [one.label.label for one in opened(journaled).labelled("colours")] == ["cat"]


def test_large_photos_in_a_burst_are_not_lost_while_the_disk_is_idle(tmp_path: Path) -> None:
    configured = settings(tmp_path, journal="", keep_photos=0)
    recorder = Recorder(configured)
    recorder.judge(new_id(), "cat").result(5)  # from now on it is open
    serving = load(published.publish(tmp_path / "store"), configured)
    for number in range(20):
        answer = Answer(new_id(), serving, "cat", (0.9, 0.1), None, 0.001, 0.001)
        recorder.record(answer, bytes([number]) * 3_000_000, 0.002)
        time.sleep(0.02)
    recorder.record(Answer(new_id(), serving, "cat", (0.9, 0.1), None, 0.001, 0.001), b"photo", 0.002)
    recorder.stop()
    assert recorder.lost == 0
    assert len(list(opened(configured).predictions("colours"))) == 21


def test_a_photo_larger_than_all_that_may_wait_is_journaled_when_it_comes_alone(tmp_path: Path) -> None:
    configured = settings(tmp_path, journal="", keep_photos=0)
    recorder = Recorder(configured)
    serving = load(published.publish(tmp_path / "store"), configured)
    answer = Answer(new_id(), serving, "cat", (0.9, 0.1), None, 0.001, 0.001)
    recorder.record(answer, bytes(40 << 20), 0.002)
    recorder.stop()
    assert recorder.lost == 0
    assert [row.id for row in opened(configured).predictions("colours")] == [answer.id]


def recorded(recorder: Recorder, configured: Settings, photos: list[bytes]) -> list[str]:
    serving = load(published.publish(configured.store), configured)
    answers = [Answer(new_id(), serving, "cat", (0.9, 0.1), None, 0.001, 0.001) for _ in photos]
    for answer, photo in zip(answers, photos, strict=True):
        recorder.record(answer, photo, 0.002)
    return [answer.id for answer in answers]


@pytest.mark.parametrize(("first_limit", "are_all_kept"), [(1 << 20, False), (96 << 20, True)])
def test_photos_past_the_bytes_that_may_wait_are_not_kept_and_their_answers_are(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    first_limit: int,
    are_all_kept: bool,
) -> None:
    monkeypatch.setattr(recording, "_HAS_ASKED_S", 60.0)  # so nothing is taken before the end
    monkeypatch.setattr(recording, "_FIRST_LIMIT_BYTES", first_limit)
    configured = settings(tmp_path, journal="")
    recorder = Recorder(configured)
    photos = [_noise(seed) for seed in range(12)]
    ids = recorded(recorder, configured, photos)
    recorder.stop()
    rows = {row.id: row for row in opened(configured).predictions("colours")}
    assert recorder.lost == 0
    assert [rows[one].photo_id for one in ids] == [photo_id(photo) for photo in photos]
    kept_ids = {row.photo_id for row in rows.values() if row.is_kept}
    assert {path.name for path in (configured.store / "photos" / "journal").glob("*/*")} == kept_ids
    count = len(photos) - len(kept_ids)
    assert (count == 0) == are_all_kept
    expected = f"the journal: {count} photos are not kept, as too many waited; their answers are"
    assert caplog.messages == ([] if are_all_kept else [expected])


def test_answers_past_those_that_may_wait_are_lost_counted_and_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recording, "_HAS_ASKED_S", 60.0)
    monkeypatch.setattr(recording, "_LIMIT", 5)
    configured = settings(tmp_path, journal="", keep_photos=0)
    recorder = Recorder(configured)
    ids = recorded(recorder, configured, [b"photo"] * 12)
    recorder.stop()
    assert recorder.lost == 7
    assert {row.id for row in opened(configured).predictions("colours")} == set(ids[:5])
    assert caplog.messages == ["the journal: 7 predictions are lost, since too many waited"]


def test_the_journal_is_opened_once_the_first_answer_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_OPEN_AFTER_S", 60.0)
    configured = settings(tmp_path, journal="", keep_photos=0)
    recorder = Recorder(configured)
    time.sleep(0.2)
    file = configured.store / "state" / "journal.db"
    assert not file.exists()
    ids = recorded(recorder, configured, [b"photo"])
    until(file.exists)
    recorder.stop()
    assert [row.id for row in opened(configured).predictions("colours")] == ids


def test_a_photo_that_cannot_be_kept_costs_no_answer_and_no_correction(journaled: Settings) -> None:
    (journaled.store / "photos").write_bytes(b"no folder")
    with running(journaled) as server:
        made = ask(server)
        assert correct(server, made, "dog").status_code == 200
    assert [row.is_kept for row in opened(journaled).predictions("colours")] == [False]
    assert [one.label.label for one in opened(journaled).labelled("colours")] == ["dog"]


def test_photos_whose_answers_cannot_be_written_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = settings(tmp_path, journal="")
    serving = load(published.publish(tmp_path / "store"), configured)
    recorder = Recorder(configured)

    def fails(*_: object) -> None:
        raise JournalError("the disk is full")

    for seed in (1, 2):
        answer = Answer(new_id(), serving, "cat", (0.9, 0.1), None, 0.001, 0.001)
        recorder.record(answer, _noise(seed), 0.002)
        with pytest.raises(JournalError) if seed == 2 else nullcontext():
            recorder.judge(new_id(), "cat").result(5)
        monkeypatch.setattr(Journal, "add", fails)
    recorder.stop()
    folder = configured.store / "photos" / "journal"
    assert [path.read_bytes() for path in folder.glob("*/*")] == [_noise(1)]


def test_a_quota_full_of_what_is_nobodys_to_delete_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configured = settings(tmp_path, journal="", keep_photos_mb=1)
    unknown = configured.store / "photos" / "journal" / "ab" / ("ab" * 32)
    unknown.parent.mkdir(parents=True)
    unknown.write_bytes(bytes(1_200_000))  # another journal's
    recorder = Recorder(configured)
    serving = load(published.publish(tmp_path / "store"), configured)
    recorder.record(Answer(new_id(), serving, "cat", (0.9, 0.1), None, 0.001, 0.001), _noise(1), 0.002)
    recorder.stop()
    assert unknown.exists()
    assert "raise PAWLOOP_KEEP_PHOTOS_MB" in caplog.text


def test_a_class_that_came_with_a_newer_model_may_be_said(journaled: Settings) -> None:
    with running(journaled) as server:
        version = published.publish(journaled.store, classes=("cat", "dog", "fox"))
        published.promote(journaled.store, version)
        until(lambda: server.live.engine.serving.number == version.number)
        assert correct(server, ask(server), "fox").status_code == 200


def test_a_correction_is_small(journaled: Settings) -> None:
    with running(journaled) as server, server.client() as client:
        long = client.post("/feedback", json={"id": new_id(), "label": "x" * 60_000})
        assert long.status_code == 422
        assert len(long.content) < 1000
        assert client.post("/feedback", json={"id": new_id(), "label": "x" * 70_000}).status_code == 413


@pytest.mark.parametrize("change", ["deleted", "moved", "replaced by a backup"])
def test_a_correction_is_in_the_journal_that_stands_in_its_place(journaled: Settings, change: str) -> None:
    file, other = journaled.store / "state" / "journal.db", journaled.store / "other.db"
    with running(journaled) as server:
        assert correct(server, ask(server), "dog").status_code == 200
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(other)) as backup:
            source.backup(backup)
        if change == "deleted":
            file.unlink()
        elif change == "moved":
            file.rename(other)
        else:
            other.rename(file)
        late = ask(server)
        assert correct(server, late, "dog").status_code == 200
    with closing(sqlite3.connect(file)) as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    answers = {one.label.prediction_id for one in opened(journaled).labelled("colours")}
    assert late in answers
    assert len(answers) == (2 if change == "replaced by a backup" else 1)


def test_answers_that_a_locked_journal_does_not_take_are_told_at_the_end(
    journaled: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(journaled)
    serving = load(published.publish(journaled.store), journaled)
    recorder.judge(new_id(), "cat").result(10)
    with closing(sqlite3.connect(journaled.store / "state" / "journal.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(5):
            answer = Answer(new_id(), serving, "cat", (0.9, 0.1), None, 0.001, 0.001)
            recorder.record(answer, _noise(number), 0.002)
        until(lambda: recorder._pending_bytes == 0)  # kept already, so others have room
        recorder.stop(0.5)
    assert "5 answers and corrections are lost" in caplog.text


def test_a_journal_that_cannot_be_opened_is_told_in_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Recorder(settings(tmp_path, journal="sqlite:////proc/nowhere/journal.db")).stop()
    (line,) = caplog.messages
    assert line.startswith("the journal")
    assert "PAWLOOP_JOURNAL" in line
    assert caplog.records[0].exc_info in (None, False)


def test_photos_are_kept_again_once_somebody_made_room(
    journaled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_OLD_WHEN_FULL_S", 0.0)
    folder = KeptPhotos(settings(journaled.store.parent, keep_photos_mb=1))
    journal = opened(journaled)
    unknown = folder.path("ab" * 32)
    unknown.parent.mkdir(parents=True)
    unknown.write_bytes(bytes(1_200_000))
    first, second = _noise(1), _noise(2)
    for photo in (first, second):
        assert folder.keep(photo_id(photo), photo)
        folder.shrink(journal)  # which knows of no photo that it may delete
        unknown.unlink(missing_ok=True)
    folder.shrink(journal)
    assert folder._used_bytes == len(first) + len(second)
