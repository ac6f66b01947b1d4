from __future__ import annotations

import httpx
import pytest

from tests import published
from tests.serve.running import Running


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (published.photo("red"), {}),
        (b"no photo", {}),
        (b"words", {"content-type": "text/plain"}),
        (published.photo("red"), {"x-request-timeout-ms": "soon"}),
    ],
)
def test_the_short_way_and_the_long_way_answer_alike(
    server: Running, client: httpx.Client, content: bytes, headers: dict[str, str]
) -> None:
    short = client.post("/predict", content=content, headers=headers)
    long = client.post("/predict", content=content, headers={**headers, "origin": server.url})
    assert short.status_code == long.status_code
    assert short.headers["content-type"] == long.headers["content-type"]
    without_id = [{**response.json(), "id": ""} for response in (short, long)]
    assert without_id[0] == without_id[1]


def test_a_surprise_is_an_answer_without_our_inside(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("serve.predict.answer", fail)
    response = client.post("/predict", content=published.photo("red"))
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
