"""Whatever comes in, the server answers in words and lives on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as searching
from hypothesis import strategies as st

from pawloop import settings as machine
from tests import published

BLACK = np.zeros((9, 7, 3), np.uint8)
SEEDS = [
    published.photo("red"),
    *(published.encoded(BLACK, kind) for kind in ("PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")),
]
BOUNDED = searching(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def awkward() -> list[Path]:
    folder = machine.load().test_data / "awkward"
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


@pytest.mark.photos
@pytest.mark.skipif(not awkward(), reason="the real photos of PAWLOOP_TEST_DATA are not here")
def test_every_awkward_file_gets_a_verdict(client: httpx.Client) -> None:
    for path in awkward():
        response = client.post("/predict", content=path.read_bytes())
        assert response.status_code in (200, 400, 413), f"{path.name}: {response.text}"
        value = response.json()
        assert value.get("label") in ("cat", "dog") or value["detail"], path.name


@pytest.mark.parametrize("path", ["/predict", "/feedback"])
@pytest.mark.parametrize("kind", ["image/jpeg", "application/json"])
def test_a_body_in_a_coding_is_refused_by_the_codings_name(
    client: httpx.Client, path: str, kind: str
) -> None:
    headers = {"content-type": kind, "content-encoding": "gzip"}
    refused = client.post(path, content=gzip.compress(SEEDS[0]), headers=headers)
    assert refused.status_code == 415
    assert '"gzip"' in refused.json()["detail"]
    assert refused.headers["accept-encoding"] == "identity"
    plain = client.post(path, content=SEEDS[0], headers={**headers, "content-encoding": "identity"})
    assert plain.status_code != 415


@pytest.mark.parametrize("place", range(0, 24, 3))
def test_a_damaged_avif_is_answered_or_refused(client: httpx.Client, place: int) -> None:
    rng = np.random.default_rng(0)
    photo = bytearray(published.encoded(rng.integers(0, 256, (64, 64, 3), np.uint8), "AVIF"))
    photo[photo.index(b"mdat") + 4 + place] ^= 0x55
    _answered_or_refused(client, bytes(photo), "image/avif")


@BOUNDED
@given(seed=st.sampled_from(SEEDS), data=st.data())
def test_mutated_photos_are_answered_or_refused(
    client: httpx.Client, seed: bytes, data: st.DataObject
) -> None:
    photo = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(photo) - 1))
        photo[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(photo)))
    _answered_or_refused(client, bytes(photo[:cut]) if cut % 2 else bytes(photo), "image/jpeg")


@BOUNDED
@given(
    content=st.binary(max_size=200),
    kind=st.sampled_from(
        [
            "application/json",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "image/png",
            "image",
            "",
        ]
    ),
)
def test_rubbish_is_refused(client: httpx.Client, content: bytes, kind: str) -> None:
    _answered_or_refused(client, content, kind)


@BOUNDED
@given(
    pieces=st.lists(
        st.sampled_from(
            [b"--x", b"\r\n", b"--", b"\r\n\r\n", b"Content-Disposition: form-data; filename=a", b"\n", b"x",
             SEEDS[0]]
        ),
        max_size=14,
    )
)  # fmt: skip
def test_broken_forms_are_refused(client: httpx.Client, pieces: list[bytes]) -> None:
    _answered_or_refused(client, b"".join(pieces), "multipart/form-data; boundary=x")


@BOUNDED
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["inputs", "name", "shape", "datatype", "data", "image", "images", "id", "label",
                             "parameters", "outputs", "binary_data_size"]),
            inner,
        ),
        max_leaves=12,
    ),
    path=st.sampled_from(["/predict", "/feedback", "/v2/models/colours/infer"]),
)  # fmt: skip
def test_rubbish_in_json_is_refused(client: httpx.Client, value: object, path: str) -> None:
    response = client.post(path, json=value) if _is_json(value) else client.post(path, json=None)
    if response.status_code == 200:  # a list, with what is wrong in each photo's place
        assert all("error" in one for one in response.json()["predictions"])
    else:
        assert response.status_code in (400, 422)


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _answered_or_refused(client: httpx.Client, content: bytes, kind: str) -> None:
    response = client.post("/predict", content=content, headers={"content-type": kind})
    assert response.status_code in (200, 400, 413, 415, 422), response.text
