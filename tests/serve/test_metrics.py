from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import published
from tests.serve.running import running, settings, until


def values(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, in the alphabet's order of the labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *[sample.labels[key] for key in sorted(sample.labels)]): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_tell_what_happened(tmp_path: Path) -> None:
    store = tmp_path / "store"
    published.champion(store)
    with running(settings(tmp_path)) as server, server.client() as client:
        for content in (published.photo("red"), published.photo("blue"), b"no photo"):
            client.post("/predict", content=content)
        client.get("/made/up")
        client.get("/openapi.json")
        client.head("/healthz")
        published.promote(store, published.publish(store, wrong_self_test=["float32"]))
        until(lambda: client.get("/readyz").json()["refused"])
        published.champion(store)
        until(lambda: client.get("/readyz").json()["model"]["version"] == 3)
        seen = values(client)
    assert seen["pawloop_requests_total", "POST", "/predict", "200"] == 2
    assert seen["pawloop_requests_total", "POST", "/predict", "400"] == 1
    assert seen["pawloop_requests_total", "GET", "unknown", "404"] == 1
    assert seen["pawloop_requests_total", "GET", "/openapi.json", "200"] == 1
    assert seen["pawloop_requests_total", "HEAD", "/healthz", "200"] == 1
    for part in ("queue", "decode", "inference", "total"):
        assert seen[(f"pawloop_{part}_seconds_count",)] == 2
    assert seen["pawloop_model_info", "colours", "float32", "cpu", "3"] == 1
    assert seen[("pawloop_swaps_total",)] == 1
    assert seen[("pawloop_refusals_total",)] == 1
    assert seen[("pawloop_journal_lost_total",)] == 0
    assert seen[("pawloop_requests_in_flight",)] == 1


@pytest.mark.parametrize("way", ["errands", "predict"])
def test_an_error_of_ours_is_counted_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    published.champion(tmp_path / "store")
    monkeypatch.setattr(f"serve.{way}.answering", lambda *_, **__: 1 / 0)
    photo = published.photo("red")
    sent: dict[str, Any] = {"errands": {"content": photo}, "predict": {"files": {"photo": photo}}}
    with running(settings(tmp_path)) as server, server.client() as client:
        assert client.post("/predict", **sent[way]).status_code == 500
        until(lambda: ("pawloop_requests_total", "POST", "/predict", "500") in values(client))
        assert ("pawloop_requests_total", "POST", "/predict", "499") not in values(client)


@pytest.mark.parametrize("is_binary", [True, False])
def test_pixels_are_timed_as_photos_are(client: httpx.Client, is_binary: bool) -> None:
    size = published.SIZE
    image: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": [1, size, size, 3]}
    headers = {}
    body = bytes(size * size * 3)
    if is_binary:
        image["parameters"] = {"binary_data_size": len(body)}
        head = json.dumps({"inputs": [image]}).encode()
        headers["Inference-Header-Content-Length"] = str(len(head))
        content = head + body
    else:
        content = json.dumps({"inputs": [{**image, "data": list(body)}]}).encode()
    before = values(client)
    asked = client.post("/v2/models/colours/infer", content=content, headers=headers)
    assert asked.status_code == 200
    for part in ("queue", "inference", "total"):
        key = (f"pawloop_{part}_seconds_count",)
        until(lambda key=key: values(client)[key] == before[key] + 1)  # type: ignore[misc]  # mypy issue 4226
