from __future__ import annotations

import asyncio
import base64
import socket
import time
from uuid import UUID

import httpx
import pytest

from serve import tensors, uploads
from serve.answer import new_id
from tests import published
from tests.serve.running import Running, until

RED, BLUE = published.photo("red"), published.photo("blue")
FORM_WITHOUT_FILE = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--"


def test_a_photo_as_the_body_is_answered_as_the_design_says(client: httpx.Client) -> None:
    response = client.post("/predict", content=RED, headers={"content-type": "image/jpeg"})
    assert response.status_code == 200
    value = response.json()
    assert list(value) == [
        "id", "label", "probability", "probabilities", "abstained", "reason", "model"
    ]  # fmt: skip
    assert value["label"] == "cat"
    assert value["probability"] == value["probabilities"]["cat"]
    assert sum(value["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert (value["abstained"], value["reason"]) == (False, None)
    assert value["model"] == {"name": "colours", "version": 1}


@pytest.mark.parametrize("kind", [None, "application/octet-stream", "application/x-www-form-urlencoded"])
def test_the_body_needs_no_right_content_type(client: httpx.Client, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    assert client.post("/predict", content=BLUE, headers=headers).json()["label"] == "dog"


def test_one_file_of_a_form_is_answered_as_one_photo(client: httpx.Client) -> None:
    assert client.post("/predict", files={"anything": RED}).json()["label"] == "cat"


def test_several_files_are_answered_in_the_order_sent_and_a_broken_one_in_its_place(
    client: httpx.Client,
) -> None:
    files = [("a", RED), ("a", b"no photo"), ("b", BLUE)]
    first, second, third = client.post("/predict", files=files).json()["predictions"]
    assert (first["label"], third["label"]) == ("cat", "dog")
    assert second["error"]["status"] == 400
    assert list(second) == ["error"]


@pytest.mark.parametrize("more", [1, 5000])
def test_more_photos_than_a_request_may_have_are_refused_before_they_are_looked_at(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    count = tensors.MAX_PHOTOS + more
    files = client.post("/predict", files=[("photo", b"x")] * count)
    monkeypatch.setattr(uploads, "_from_base64", lambda _: pytest.fail("one was looked at"))
    in_json = client.post("/predict", json={"images": ["eA=="] * count})
    assert (files.status_code, in_json.status_code) == (413, 413)


def test_fields_beside_the_file_do_no_harm(client: httpx.Client) -> None:
    response = client.post("/predict", files={"photo": RED}, data={"note": "Minka"})
    assert response.json()["label"] == "cat"


def test_base64_in_json_is_answered_with_and_without_data_url(client: httpx.Client) -> None:
    text = base64.b64encode(RED).decode()
    assert client.post("/predict", json={"image": text}).json()["label"] == "cat"
    url = f"data:image/jpeg;base64,{text}"
    several = client.post("/predict", json={"images": [url]}).json()
    assert [one["label"] for one in several["predictions"]] == ["cat"]
    folded = "\r\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    url_safe = base64.urlsafe_b64encode(RED).decode()
    for other in (folded, url_safe, url_safe.rstrip("=")):
        assert client.post("/predict", json={"image": other}).json()["label"] == "cat"


@pytest.mark.parametrize("text", ["!!!!", "abcd!", "abcde"])
def test_what_is_no_base64_is_called_that(client: httpx.Client, text: str) -> None:
    refused = client.post("/predict", json={"image": text})
    assert refused.status_code == 400
    assert "not base64" in refused.json()["detail"]


def test_a_file_whose_name_is_not_ascii_is_a_file(client: httpx.Client) -> None:
    part = b"--x\r\nContent-Disposition: form-data; name=photo; filename*=UTF-8''%e2%82%ac.jpg\r\n\r\n"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    answered = client.post("/predict", content=part + RED + b"\r\n--x--\r\n", headers=kind)
    assert answered.json()["label"] == "cat"


def test_forty_photos_in_one_request_keep_their_order(client: httpx.Client) -> None:
    files = [("photo", RED if n % 3 else BLUE) for n in range(40)]
    labels = [one["label"] for one in client.post("/predict", files=files).json()["predictions"]]
    assert labels == ["cat" if n % 3 else "dog" for n in range(40)]


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (400, b"no photo", "image/jpeg"),
        (400, b"", "image/jpeg"),
        (400, RED[:100], "image/jpeg"),
        (400, b"{", "application/json"),
        (400, b"--x\r\n", "multipart/form-data"),
        (400, b"nothing", "multipart/form-data; boundary=x"),
        (400, b"nothing", f"multipart/form-data; boundary={'x' * 3000}"),
        (422, FORM_WITHOUT_FILE, "multipart/form-data; boundary=x"),
        (422, b"[]", "application/json"),
        (422, b'{"image": 3}', "application/json"),
        (422, b'{"images": []}', "application/json"),
        (400, b'{"image": "\xc3\xa4"}', "application/json"),
        (415, b"words", "text/plain"),
    ],
)  # fmt: skip
def test_what_is_no_photo_gets_a_problem_document(
    client: httpx.Client, status: int, content: bytes, kind: str
) -> None:
    response = client.post("/predict", content=content, headers={"content-type": kind})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status


def test_unknown_paths_and_methods_are_problem_documents_too(client: httpx.Client) -> None:
    for response in (client.get("/nowhere"), client.get("/predict")):
        assert response.headers["content-type"] == "application/problem+json"
        assert response.status_code in (404, 405)


def test_a_body_past_the_limit_is_refused_before_it_is_read(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        connection.settimeout(5)
        assert b"413" in connection.recv(4096).split(b"\r\n")[0]


def test_a_chunked_body_without_end_is_refused_at_the_limit(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(5)
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
        try:
            for _ in range(40):
                connection.sendall(chunk)
        except OSError:
            pass  # the server closed the door, as it should
        else:
            assert b"413" in connection.recv(4096).split(b"\r\n")[0]


def test_a_deadline_that_is_no_number_is_refused(client: httpx.Client) -> None:
    response = client.post("/predict", content=RED, headers={"x-request-timeout-ms": "soon"})
    assert response.status_code == 422


def test_a_photo_that_nobody_waits_for_any_more_costs_no_thread(server: Running) -> None:
    engine = server.live.engine

    async def block() -> None:
        for _ in range(engine.thread_count):
            engine.submit(lambda _: time.sleep(0.5), time.monotonic() + 60)

    asyncio.run(block())
    until(lambda: engine.running == engine.thread_count)
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(RED), RED)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request)
        until(lambda: engine.waiting == 1)
    until(lambda: engine.waiting == 0, timeout_s=0.4)
    until(lambda: engine.running == 0)


def test_ids_are_uuids_of_version_7_in_the_order_they_were_made() -> None:
    first = new_id()
    time.sleep(0.002)
    second = new_id()
    assert UUID(first).version == UUID(second).version == 7
    assert UUID(first).variant == UUID(second).variant
    assert first < second
