from __future__ import annotations

import base64
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from serve import tensors
from serve.loading import Serving
from serve.spread import Spread, _Way
from tests import published
from tests.serve.running import Running, running, settings

triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http], of the test extra")

RED, BLUE = published.photo("red"), published.photo("blue")
SIDE = published.SIZE
MODEL = "/v2/models/colours"


@pytest.fixture
def theirs(server: Running) -> Iterator[Any]:  # Any: tritonclient has no types
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as opened:
        yield opened


def pixels(count: int) -> NDArray[np.uint8]:
    """[count, S, S, 3], red and blue by turns."""
    colours = np.array([(255, 0, 0), (0, 0, 255)], np.uint8)[np.arange(count) % 2]
    return np.broadcast_to(colours[:, None, None], (count, SIDE, SIDE, 3)).copy()


def test_tritonclient_sees_server_and_model(theirs: Any) -> None:
    assert theirs.is_server_live()
    assert theirs.is_server_ready()
    assert theirs.is_model_ready("colours")
    assert theirs.is_model_ready("colours", "1")
    assert not theirs.is_model_ready("colours", "7")
    assert not theirs.is_model_ready("horses")
    assert "binary_tensor_data" in theirs.get_server_metadata()["extensions"]
    told = theirs.get_model_metadata("colours")
    assert told["versions"] == ["1"]
    assert {entry["name"]: entry["shape"] for entry in told["inputs"]} == {
        "image": [-1, SIDE, SIDE, 3],
        "photo": [-1],
    }
    config = theirs.get_model_config("colours")
    assert config["backend"] == "onnxruntime"
    assert {one["name"]: one["dims"] for one in config["input"] + config["output"]} == {
        one["name"]: one["shape"] for one in told["inputs"] + told["outputs"]
    }
    (listed,) = theirs.get_model_repository_index()
    assert (listed["version"], listed["state"]) == ("1", "READY")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritonclient_infers_from_pixels(
    theirs: Any, binary_in: bool, binary_out: bool, compression: str | None
) -> None:
    images = pixels(9)
    given = triton.InferInput("image", list(images.shape), "UINT8")
    given.set_data_from_numpy(images, binary_data=binary_in)
    outputs = [triton.InferRequestedOutput(n, binary_data=binary_out) for n in ("probabilities", "label")]
    answer = theirs.infer(
        "colours",
        [given],
        outputs=outputs,
        request_id="7",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    assert answer.get_response()["id"] == "7"
    assert answer.get_response()["model_version"] == "1"
    assert answer.as_numpy("embedding") is None
    probabilities = answer.as_numpy("probabilities")
    assert probabilities.shape == (9, 2)
    assert (probabilities.argmax(axis=1) == np.arange(9) % 2).all()
    labels = [label.decode() if isinstance(label, bytes) else label for label in answer.as_numpy("label")]
    assert labels == ["cat", "dog"] * 4 + ["cat"]


def test_tritonclient_infers_from_encoded_photos(theirs: Any) -> None:
    photos = np.array([RED, BLUE, RED], dtype=np.object_)
    given = triton.InferInput("photo", [3], "BYTES")
    given.set_data_from_numpy(photos)
    answer = theirs.infer("colours", [given])
    assert [label.decode() for label in answer.as_numpy("label")] == ["cat", "dog", "cat"]
    assert answer.as_numpy("embedding").shape == (3, 3)


@pytest.mark.parametrize("binary_out", [True, False])
def test_tritonclient_asks_for_the_likeliest_classes_in_words(theirs: Any, binary_out: bool) -> None:
    images = pixels(2)
    given = triton.InferInput("image", list(images.shape), "UINT8")
    given.set_data_from_numpy(images)
    wanted = triton.InferRequestedOutput("probabilities", binary_data=binary_out, class_count=2)
    told = theirs.infer("colours", [given], outputs=[wanted]).as_numpy("probabilities")
    assert told.shape == (2, 2)
    texts = [[text if isinstance(text, str) else text.decode() for text in row] for row in told]
    assert [[text.split(":")[1:] for text in row] for row in texts] == [
        [["0", "cat"], ["1", "dog"]],
        [["1", "dog"], ["0", "cat"]],
    ]
    assert all(float(row[0].split(":")[0]) > float(row[1].split(":")[0]) for row in texts)


def test_more_classes_than_there_are_means_all_and_what_has_none_is_refused(theirs: Any) -> None:
    given = triton.InferInput("image", [1, SIDE, SIDE, 3], "UINT8")
    given.set_data_from_numpy(pixels(1))
    five = triton.InferRequestedOutput("probabilities", class_count=5)
    assert theirs.infer("colours", [given], outputs=[five]).as_numpy("probabilities").shape == (1, 2)
    with pytest.raises(Exception, match='only "probabilities" can be classified'):
        theirs.infer("colours", [given], outputs=[triton.InferRequestedOutput("label", class_count=1)])


def test_tritonclient_is_told_what_is_wrong(theirs: Any) -> None:
    small = triton.InferInput("image", [1, 8, 8, 3], "UINT8")
    small.set_data_from_numpy(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(Exception, match=r"not \[N, 32, 32, 3\]"):
        theirs.infer("colours", [small])


def test_photos_in_json_come_as_base64(client: httpx.Client) -> None:
    text = base64.b64encode(BLUE).decode()
    call = {"inputs": [{"name": "photo", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    told = client.post(f"{MODEL}/infer", json=call).json()
    assert {entry["name"] for entry in told["outputs"]} == {"probabilities", "embedding", "label", "reason"}
    assert next(entry["data"] for entry in told["outputs"] if entry["name"] == "label") == ["dog"]


def test_pixels_answer_as_the_photo_they_came_from(client: httpx.Client) -> None:
    square = np.full((SIDE, SIDE, 3), (90, 120, 200), np.uint8)
    photo = client.post("/predict", content=published.encoded(square)).json()
    call = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3],
                        "data": square.ravel().tolist()}]}  # fmt: skip
    told = client.post(f"{MODEL}/infer", json=call).json()["outputs"]
    probabilities = next(entry["data"] for entry in told if entry["name"] == "probabilities")
    assert probabilities == pytest.approx(list(photo["probabilities"].values()), abs=1e-6)


_BASE64 = base64.b64encode(RED).decode()


def _image(**changes: object) -> dict[str, object]:
    plain = {"name": "image", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": [0]}
    return {"inputs": [{**plain, **changes}]}


@pytest.mark.parametrize(
    "call",
    [
        [],
        {},
        {"inputs": 3},
        {"inputs": [{}]},
        {"inputs": []},
        _image(),
        _image(shape=[-1, SIDE]),
        _image(shape=[10**9] * 4),
        _image(shape=[True]),
        _image(shape=[0, 10**30]),
        _image(shape=[0, 0, 2**62, 2**62]),
        _image(datatype="FP32"),
        _image(data=[[1], [2, 3]]),
        _image(data=[[1], [2, 3]], shape=[3]),
        _image(data=[[1], 2], shape=[2]),
        _image(data=[True], shape=[1]),
        _image(data=[10**30], shape=[1]),
        _image(data=[300], shape=[1]),
        _image(data="red"),
        _image(name="photo", datatype="BYTES", shape=[1], data=["§"]),
        _image(name="photo", datatype="BYTES", shape=[1], data=3),
        _image(name="photo", datatype="BYTES", shape=[1], data=["bm8gcGhvdG8="]),
        _image(parameters={"binary_data_size": 99}),
        {"inputs": 2 * [{"name": "photo", "datatype": "BYTES", "shape": [1], "data": [_BASE64]}]},
        {**_image(), "outputs": [{"name": "horses"}]},
        {**_image(), "outputs": [3]},
    ],
)
def test_wrong_tensors_are_told_in_the_protocols_form(client: httpx.Client, call: object) -> None:
    refused = client.post(f"{MODEL}/infer", json=call)
    assert refused.status_code == 400
    assert list(refused.json()) == ["error"]


def test_the_index_may_be_of_what_is_ready(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    published.publish(tmp_path / "store")
    with running(settings(tmp_path)) as server, server.client() as client:
        for asked, count in [(None, 2), ({}, 2), ({"ready": False}, 2), ({"ready": True}, 1)]:
            assert len(client.post("/v2/repository/index", json=asked).json()) == count, asked
        assert client.post("/v2/repository/index", json={"ready": 1}).status_code == 400


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"), ("br, gzip;q=0.5", "gzip"), ("deflate, gzip;q=0", "deflate"),
        ("gzip; q=0, identity", None), ("gzip;q=0.000", None), ("identity", None),
    ],
)  # fmt: skip
def test_an_answer_is_compressed_as_its_reader_asks(
    client: httpx.Client, accepted: str, coding: str | None
) -> None:
    call = {"name": "image", "datatype": "UINT8", "shape": [40, SIDE, SIDE, 3]}
    value = {"inputs": [{**call, "data": pixels(40).ravel().tolist()}]}
    answer = client.post(f"{MODEL}/infer", json=value, headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == coding
    assert answer.json()["model_name"] == "colours"


def test_long_answers_hold_every_value(client: httpx.Client) -> None:
    sent = pixels(1000)
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(sent.shape)}
    head = {"inputs": [{**tensor, "parameters": {"binary_data_size": sent.nbytes}}]}
    content = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(content))}
    outputs = client.post(f"{MODEL}/infer", content=content + sent.tobytes(), headers=headers).json()[
        "outputs"
    ]
    found = {entry["name"]: entry for entry in outputs}
    assert found["embedding"]["shape"] == [1000, 3]
    expected = sent.reshape(1000, -1, 3).mean(axis=1) / 255
    assert np.allclose(np.reshape(found["embedding"]["data"], (1000, 3)), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["image", "photo"])
def test_what_comes_alone_may_use_all_cores(
    client: httpx.Client, server: Running, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    used: list[_Way] = []

    def given(model: Spread, *, is_alone: bool) -> Serving:
        used.append(_Way.of(model.serving, model.serving.session))
        return used[-1].serving

    monkeypatch.setattr(Spread, "choose", given)
    photo = base64.b64encode(published.photo("red")).decode()
    data = [photo] if name == "photo" else pixels(1).tolist()
    shape = [1] if name == "photo" else list(pixels(1).shape)
    datatype = "BYTES" if name == "photo" else "UINT8"
    call = _image(name=name, datatype=datatype, shape=shape, data=data)
    assert client.post(f"{MODEL}/infer", json=call).status_code == 200
    (one,) = used
    assert len(one.timed.seconds) == 1


def test_more_photos_than_any_request_may_have_are_refused_before_they_are_looked_at(
    client: httpx.Client,
) -> None:
    many = {"name": "photo", "datatype": "BYTES", "shape": [5_000_000]}
    head = json.dumps({"inputs": [{**many, "parameters": {"binary_data_size": 20_000_000}}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    refused = client.post(f"{MODEL}/infer", content=head + bytes(20_000_000), headers=headers)
    assert refused.status_code == 413
    in_json = _image(name="photo", datatype="BYTES", shape=[2_000], data=[""] * 2_000)
    assert client.post(f"{MODEL}/infer", json=in_json).status_code == 413
    fewer = _image(name="photo", datatype="BYTES", shape=[2], data=[""] * 2_000)
    assert client.post(f"{MODEL}/infer", json=fewer).status_code == 400


def test_texts_in_the_place_of_pixels_take_no_memory() -> None:
    call = json.dumps(_image(shape=[1], data=["a" * 10_000] + [""] * 10_000)).encode()
    tracemalloc.start()
    try:
        with pytest.raises(HTTPException, match="whole numbers"):
            tensors.read(call, None)
        assert tracemalloc.get_traced_memory()[1] < 50 * len(call)
    finally:
        tracemalloc.stop()


def test_wrong_bytes_are_told_too(client: httpx.Client) -> None:
    zeros = gzip.compress(bytes(50_000_000))
    header = json.dumps(_image(name="photo", datatype="BYTES", shape=[1])).encode()
    left_over = gzip.compress(b"{}") + b"left over"
    for content, headers, status in [
        (left_over, {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"{}") + gzip.compress(b" ")[:-1], {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"") * 2000, {"content-encoding": "gzip"}, 400),
        (2 * gzip.compress(bytes(11_000_000)), {"content-encoding": "gzip"}, 413),
        (zlib.compress(b"{}") + b"left over", {"content-encoding": "deflate"}, 400),
        (b"{}", {"Inference-Header-Content-Length": "99"}, 400),
        (b"{}", {"Inference-Header-Content-Length": "-1"}, 400),
        (b"{}", {"content-encoding": "gzip"}, 400),
        (b"{}", {"content-encoding": "br"}, 415),
        (zeros, {"content-encoding": "gzip"}, 413),
        (zlib.compress(b"{}")[:-2], {"content-encoding": "deflate"}, 400),
        (zlib.compress(b'{"inputs": [' + b"[]," * 1_000_000 + b"[]]}"), {"content-encoding": "deflate"}, 413),
        (header + b"left over", {"Inference-Header-Content-Length": str(len(header))}, 400),
    ]:
        refused = client.post(f"{MODEL}/infer", content=content, headers=headers)
        assert refused.status_code == status, content[:40]
        assert "error" in refused.json()


def test_a_gzip_body_of_several_members_is_read_whole(client: httpx.Client) -> None:
    text = base64.b64encode(BLUE).decode()
    call = json.dumps(_image(name="photo", datatype="BYTES", shape=[1], data=[text])).encode()
    members = [gzip.compress(call[:100]), gzip.compress(b""), gzip.compress(call[100:] + b" " * 200_000)]
    answer = client.post(
        f"{MODEL}/infer", content=b"".join(members), headers={"content-encoding": "gzip"}
    ).json()
    assert next(entry["data"] for entry in answer["outputs"] if entry["name"] == "label") == ["dog"]


def test_load_looks_again_at_the_champion_behind_the_admin_token(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with running(settings(tmp_path, admin_token="secret")) as server:
        theirs = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
        with pytest.raises(Exception, match="admin token"):
            theirs.load_model("colours")
        published.champion(tmp_path / "store")
        theirs.load_model("colours", headers={"x-admin-token": "secret"})
        assert theirs.is_model_ready("colours", "2")
        with pytest.raises(Exception, match="promoted"):
            theirs.unload_model("colours", headers={"x-admin-token": "secret"})
        for verb in ("load", "unload"):
            path = f"/v2/repository/models/horses/{verb}"
            unknown = httpx.post(f"{server.url}{path}", headers={"x-admin-token": "secret"})
            assert unknown.status_code == 404
            assert "horses" in unknown.json()["error"]
        theirs.close()


def test_without_an_admin_token_nobody_is_admin(client: httpx.Client) -> None:
    refused = client.post("/v2/repository/models/colours/load", headers={"x-admin-token": ""})
    assert refused.status_code == 403


def test_load_tells_of_a_champion_that_is_refused(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with running(settings(tmp_path, admin_token="secret")) as server:
        theirs = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
        published.promote(
            tmp_path / "store", published.publish(tmp_path / "store", wrong_self_test=("float32",))
        )
        with pytest.raises(Exception, match="version 2 is refused, version 1 serves on"):
            theirs.load_model("colours", headers={"x-admin-token": "secret"})
        theirs.close()


def test_load_tells_of_a_first_champion_that_is_refused(tmp_path: Path) -> None:
    version = published.publish(tmp_path / "store", wrong_self_test=("float32",))
    published.promote(tmp_path / "store", version)
    with running(settings(tmp_path, admin_token="secret")) as server, server.client() as client:
        path = "/v2/repository/models/colours/load"
        refused = client.post(path, headers={"x-admin-token": "secret"})
    assert refused.status_code == 400
    assert "version 1 is refused, no model serves: " in refused.json()["error"]
