from __future__ import annotations

from pathlib import Path

import httpx
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
        published.promote(store, published.publish(store, wrong_self_test=["float32"]))
        until(lambda: client.get("/readyz").json()["refused"])
        published.champion(store)
        until(lambda: client.get("/readyz").json()["model"]["version"] == 3)
        seen = values(client)
    assert seen["pawloop_requests_total", "POST", "/predict", "200"] == 2
    assert seen["pawloop_requests_total", "POST", "/predict", "400"] == 1
    assert seen["pawloop_requests_total", "GET", "unknown", "404"] == 1
    for part in ("queue", "decode", "inference", "total"):
        assert seen[(f"pawloop_{part}_seconds_count",)] == 2
    assert seen["pawloop_model_info", "colours", "float32", "cpu", "3"] == 1
    assert seen[("pawloop_swaps_total",)] == 1
    assert seen[("pawloop_refusals_total",)] == 1
    assert seen[("pawloop_journal_lost_total",)] == 0
    assert seen[("pawloop_requests_in_flight",)] == 1
