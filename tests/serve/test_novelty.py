"""A photo unlike all training photos is told to be unfamiliar, by each way of asking."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import published
from tests.serve.running import running, settings

GREENISH = published.photo((255, 200, 0))  # as red as a cat, and greener than any


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    store = tmp_path / "store"
    published.promote(store, published.publish(store, novelty_threshold=0.5))
    with running(settings(tmp_path)) as server, server.client() as found:
        yield found


def test_an_unfamiliar_photo_has_a_label_and_goes_to_a_person(client: httpx.Client) -> None:
    told = client.post("/predict", content=GREENISH).json()
    assert (told["label"], told["abstained"], told["reason"]) == ("cat", True, "unfamiliar")
    form = client.post("/predict", files={"photo": GREENISH}).json()
    assert (form["abstained"], form["reason"]) == (True, "unfamiliar")


def test_a_familiar_photo_is_answered(client: httpx.Client) -> None:
    told = client.post("/predict", content=published.photo("red")).json()
    assert (told["abstained"], told["reason"]) == (False, None)


def test_the_inference_protocol_tells_why_a_person_should_look(client: httpx.Client) -> None:
    photos = [base64.b64encode(photo).decode() for photo in (GREENISH, published.photo("red"))]
    pixels = [[[[255, 200, 0]] * 32] * 32, [[[255, 0, 0]] * 32] * 32]
    for given in (
        {"name": "photo", "datatype": "BYTES", "shape": [2], "data": photos},
        {"name": "image", "datatype": "UINT8", "shape": [2, 32, 32, 3], "data": pixels},
    ):
        call = {"inputs": [given], "outputs": [{"name": "reason"}]}
        [output] = client.post("/v2/models/colours/infer", json=call).json()["outputs"]
        assert (output["datatype"], output["data"]) == ("BYTES", ["unfamiliar", ""])


def test_the_inference_protocol_tells_how_novel_a_photo_is(client: httpx.Client) -> None:
    metadata = client.get("/v2/models/colours").json()
    assert "novelty" in {output["name"] for output in metadata["outputs"]}
    photo = base64.b64encode(GREENISH).decode()
    given = {"name": "photo", "datatype": "BYTES", "shape": [1], "data": [photo]}
    call = {"inputs": [given], "outputs": [{"name": "novelty"}]}
    [output] = client.post("/v2/models/colours/infer", json=call).json()["outputs"]
    assert output["data"] == [pytest.approx(200 / 255, abs=0.02)]
