from __future__ import annotations

import asyncio
import hashlib
import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from pawloop import client as module
from pawloop.client import AsyncClient, Client, Outcome, Prediction, encoded
from pawloop.errors import (
    DeniedError,
    NoModelError,
    PhotoError,
    PhotoFormatError,
    PhotoTooLargeError,
    ServerError,
)
from pawloop.image import Resize, decode
from pawloop.journal import Journal
from tests import published
from tests.serve.running import Running, running, settings

Scripted = tuple[int, dict[str, str], object]

RED, BLUE = published.photo("red"), published.photo("blue")
ANSWER = {
    "id": "1", "label": "cat", "probability": 0.9, "probabilities": {"cat": 0.9, "dog": 0.1},
    "abstained": False, "reason": None, "model": {"name": "colours", "version": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    published.champion(folder / "store")
    with running(settings(folder)) as started:
        yield started


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(module, "_LONGEST_WAIT_S", 0.05)


@contextmanager
def scripted(*answers: Scripted) -> Iterator[tuple[str, list[float]]]:
    """A server that gives these answers in turn, and the times it was asked at."""
    rest, asked = iter(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(time.monotonic())
            self.rfile.read(int(self.headers["content-length"]))
            status, headers, value = next(rest)
            content = json.dumps(value).encode()
            self.send_response(status)
            for name, text in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}", asked
    finally:
        listening.shutdown()
        listening.server_close()


def test_a_path_bytes_an_image_or_pixels_are_answered_alike(server: Running, tmp_path: Path) -> None:
    pixels = np.zeros((50, 60, 3), np.uint8)
    pixels[..., 0] = 254
    path = tmp_path / "red.png"
    path.write_bytes(published.encoded(pixels))
    with Client(server.url) as client:
        answers = [
            client.predict(photo)
            for photo in (path, str(path), path.read_bytes(), Image.fromarray(pixels), pixels)
        ]
    assert {answer.label for answer in answers} == {"cat"}
    assert len({answer.probability for answer in answers}) == 1
    assert isinstance(answers[0], Prediction)
    assert (answers[0].model, answers[0].version) == ("colours", 1)


def test_an_image_in_memory_is_sent_as_its_camera_was_held() -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(file, "JPEG", exif=exif)
    held = Image.open(io.BytesIO(encoded(Image.open(file))))
    assert held.size == (20, 40)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "1", "P", "PA", "I;16", "RGBA", "RGBa"])
def test_an_image_in_memory_may_have_any_mode(mode: str) -> None:
    assert Image.open(io.BytesIO(encoded(Image.new(mode, (8, 8))))).size == (8, 8)


def test_an_image_of_numbers_is_not_sent_black() -> None:
    sent = decode(encoded(Image.new("F", (64, 64), 0.7)), Resize(64, 1.0))
    assert abs(int(sent.mean()) - round(0.7 * 255)) <= 1


def test_clients_that_were_refused_together_do_not_come_back_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT_S", 5.0)
    refusal = httpx.Response(503, headers={"retry-after": "1"})
    waits = {module._wait_s(refusal, module._waits(5)) for _ in range(5)}
    assert len(waits) == 5
    assert all(wait and wait > 1 for wait in waits)


def test_many_photos_come_back_in_order_with_errors_in_their_place(server: Running) -> None:
    photos = [BLUE, b"no photo", *[RED] * 20]
    with Client(server.url) as client:
        first, second, *rest = client.predict_many(photos)
    assert isinstance(first, Prediction)
    assert first.label == "dog"
    assert isinstance(second, PhotoFormatError)
    assert [answer.label for answer in rest if isinstance(answer, Prediction)] == ["cat"] * 20


def test_photos_are_taken_as_they_are_answered(server: Running) -> None:
    def camera() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield RED

    async def first() -> Outcome:
        async with AsyncClient(server.url) as client:
            async for answer in client.predict_many(camera()):
                return answer
        raise AssertionError

    taken: list[int] = []
    with Client(server.url) as client:
        answers = client.predict_many(camera())
        assert isinstance(next(answers), Prediction)
        answers.close()
    assert isinstance(asyncio.run(first()), Prediction)
    assert len(taken) < 30


def test_a_photo_is_asked_about_while_the_next_one_is_waited_for(server: Running) -> None:
    async def camera() -> AsyncIterator[bytes]:
        for number in range(3):
            yield RED
            until = time.monotonic() + 20
            while server.live.metrics.requests.get(("/predict", "POST", 200), 0) < before + number + 1:
                assert time.monotonic() < until, "it waits for more photos"
                await asyncio.sleep(0.01)

    async def ask() -> int:
        async with AsyncClient(server.url) as client:
            return len([answer async for answer in client.predict_many(camera())])

    before = server.live.metrics.requests.get(("/predict", "POST", 200), 0)
    assert asyncio.run(ask()) == 3


def test_a_body_past_the_limit_is_told_to_every_kind_of_client(server: Running) -> None:
    async def ask() -> list[Outcome]:
        async with AsyncClient(server.url, attempts=1) as client:
            return [answer async for answer in client.predict_many([large, RED])]

    large = bytes(60 * 2**20)
    too_large, answered = asyncio.run(ask())
    assert isinstance(too_large, PhotoTooLargeError)
    assert isinstance(answered, Prediction)
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.urlopen(f"{server.url}/predict", data=large)
    with Client(server.url, attempts=1) as client:
        with pytest.raises(PhotoTooLargeError):
            client.predict(large)
        assert client.predict(RED).label == "cat"


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "I;16B"])
def test_grey_pictures_of_any_depth_are_what_they_show(server: Running, mode: str) -> None:
    grey = Image.linear_gradient("L").resize((64, 64))
    levels = np.asarray(grey, np.uint16) * 257
    kinds = {"I": np.int32, "F": np.float32, "I;16": np.uint16, "I;16B": ">u2"}
    deep = Image.fromarray(levels.astype(kinds[mode]))
    assert deep.mode == mode
    with Client(server.url) as client:
        assert client.predict(deep).probabilities == pytest.approx(
            client.predict(grey).probabilities, abs=0.02
        )


def test_a_key_of_two_lines_is_told_without_it() -> None:
    with pytest.raises(ServerError, match="line break") as caught:
        Client("http://127.0.0.1:9", api_key="secret\nother")
    assert "secret" not in str(caught.value)
    Client("http://127.0.0.1:9", api_key="secret\n").close()


def test_asyncio_gets_the_same(server: Running) -> None:
    async def ask() -> list[Outcome]:
        async with AsyncClient(server.url) as client:
            one = await client.predict(RED)
            return [one, *[answer async for answer in client.predict_many([BLUE, b"no photo"])]]

    one, two, three = asyncio.run(ask())
    assert isinstance(one, Prediction)
    assert isinstance(two, Prediction)
    assert (one.label, two.label) == ("cat", "dog")
    assert isinstance(three, PhotoFormatError)


def test_a_correction_is_sent_and_taken_back_by_both_kinds_of_client(tmp_path: Path) -> None:
    async def say(url: str, prediction_id: str, label: str | None) -> None:
        async with AsyncClient(url) as client:
            await client.correct(prediction_id, label)

    published.champion(tmp_path / "store")
    configured = settings(tmp_path, journal="")
    assert configured.journal_url
    with running(configured) as server, Client(server.url) as client:
        answer = client.predict(RED)
        client.correct(answer.id, "dog")
        journal = Journal(configured.journal_url)
        assert [one.label.label for one in journal.labelled("colours")] == ["dog"]
        asyncio.run(say(server.url, answer.id, None))
        assert list(journal.labelled("colours")) == []
        with pytest.raises(ServerError, match='did you mean "dog"'):
            client.correct(answer.id, "dogg")


def test_an_overloaded_server_is_asked_again_after_the_time_that_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT_S", 5.0)
    refusal = (503, {"retry-after": "1"}, {"title": "overloaded", "detail": "full"})
    with scripted(refusal, (200, {}, ANSWER)) as (url, asked), Client(url) as client:
        assert client.predict(RED).label == "cat"
    assert asked[1] - asked[0] >= 1


@pytest.mark.parametrize("status", [429, 502])
def test_a_proxy_whose_server_is_away_or_that_was_asked_too_often_is_asked_again(status: int) -> None:
    with scripted((status, {"content-type": "text/html"}, "nginx"), (200, {}, ANSWER)) as (url, asked):
        with Client(url) as client:
            assert client.predict(RED).label == "cat"
        assert len(asked) == 2


def test_a_proxy_that_lets_no_such_photo_pass_is_told_apart() -> None:
    refusal: Scripted = (413, {"content-type": "text/html"}, "nginx")
    with (
        scripted(refusal) as (url, _),
        Client(url) as client,
        pytest.raises(PhotoTooLargeError, match="a proxy in front"),
    ):
        client.predict(RED)


def test_a_server_that_stays_overloaded_is_an_error_in_its_own_words() -> None:
    refusal: Scripted = (503, {}, {"title": "overloaded", "detail": "64 photos wait already"})
    with scripted(*[refusal] * 3) as (url, asked), Client(url, attempts=3) as client:
        with pytest.raises(ServerError, match="64 photos wait already"):
            client.predict(RED)
        assert len(asked) == 3


def test_a_server_without_a_model_is_asked_for_no_other_photo(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as server, Client(server.url, attempts=2) as client:
        with pytest.raises(NoModelError, match="run a retrain"):
            list(client.predict_many([RED] * 50))
        assert server.live.metrics.requests["/predict", "POST", 503] <= 40


def test_an_answer_that_fails_ends_no_others() -> None:
    async def ask(url: str) -> list[Outcome]:
        async with AsyncClient(url, attempts=1) as client:
            return [answer async for answer in client.predict_many([RED, BLUE])]

    failure: Scripted = (500, {}, {"title": "failed", "detail": "its log says why"})
    with scripted(failure, (200, {}, ANSWER)) as (url, _), Client(url, attempts=1) as client:
        told = list(client.predict_many([RED, BLUE]))
    with scripted(failure, (200, {}, ANSWER)) as (url, _):
        told_later = asyncio.run(ask(url))
    for answers in (told, told_later):
        assert {type(answer) for answer in answers} == {Prediction, ServerError}


def test_a_server_at_work_is_not_asked_a_second_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = []

        def take() -> None:
            while True:
                try:
                    asked.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        late = pytest.raises(ServerError, match=r"did not answer within 0\.3 s")
        with Client(url, timeout_s=0.3) as client, late:
            client.predict(RED)
        assert len(asked) == 1


def test_a_server_that_is_not_there_is_named() -> None:
    with (
        Client("http://127.0.0.1:9", attempts=2) as client,
        pytest.raises(ServerError, match=r"127\.0\.0\.1:9"),
    ):
        client.predict(RED)


def test_an_address_without_a_scheme_is_told_at_once() -> None:
    with Client("127.0.0.1:8000") as client, pytest.raises(ServerError, match="starts with http://"):
        client.predict(published.photo("red"))


def test_another_kind_of_server_is_told_apart() -> None:
    with scripted((200, {}, ["hello"])) as (url, _), Client(url) as client, pytest.raises(ServerError):
        client.predict(RED)


def test_an_address_with_a_path_is_told_to_be_too_long(server: Running) -> None:
    with Client(f"{server.url}/predict") as client, pytest.raises(ServerError, match="address alone"):
        client.predict(RED)


def test_errors_are_ours(server: Running, tmp_path: Path) -> None:
    with Client(server.url) as client:
        with pytest.raises(PhotoError, match="damaged"):
            client.predict(RED[:120])
        with pytest.raises(PhotoTooLargeError):
            client.predict(bytes(21 * 2**20))
        with pytest.raises(PhotoError, match="cannot be read"):
            client.predict(tmp_path / "nowhere.jpg")
        with pytest.raises(PhotoFormatError, match=r"uint8 \[H, W, 3\]"):
            client.predict(np.zeros((3, 3), np.uint8))
        with pytest.raises(PhotoFormatError, match="not NoneType"):
            client.predict(None)  # type: ignore[arg-type]  # as people do all the same


def test_the_api_key_is_sent(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    keys = tmp_path / "keys"
    keys.write_text(f"minka:{hashlib.sha256(b'sesame').hexdigest()}\n")
    with running(settings(tmp_path, api_keys=keys)) as server:
        with Client(server.url, "sesame") as client:
            assert client.predict(RED).label == "cat"
        with Client(server.url) as client, pytest.raises(DeniedError, match="API key") as caught:
            list(client.predict_many([RED, RED]))
    assert "name it by --api-key, PAWLOOP_API_KEY or" in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:abc", "http://[::1"])
def test_what_is_no_address_is_told_at_once(url: str) -> None:
    with pytest.raises(ServerError, match="is no address of a server"):
        Client(url)


def test_an_api_key_may_be_any_text(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    keys = tmp_path / "keys"
    keys.write_text(f"minka:{hashlib.sha256('ключ'.encode()).hexdigest()}\n")
    with running(settings(tmp_path, api_keys=keys)) as server, Client(server.url, "ключ") as client:
        assert client.predict(published.photo("red")).label == "cat"


def test_a_proxy_is_not_asked_for_a_server_on_this_machine(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with Client(server.url) as client:
        assert client.predict(published.photo()).model == "colours"
