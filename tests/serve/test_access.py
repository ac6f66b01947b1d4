from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pawloop.errors import ServerError
from pawloop.settings import Settings
from serve.access import read_keys
from serve.app import create_app
from tests import published
from tests.serve.running import running, settings

RED = published.photo("red")


def test_with_keys_whatever_answers_or_shows_data_asks_for_one(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    keys = tmp_path / "keys"
    keys.write_text(f"# clients\nminka:{hashlib.sha256(b'open sesame').hexdigest()}  # since May\n")
    with running(settings(tmp_path, api_keys=keys)) as server, server.client() as client:
        assert client.post("/predict", content=RED).status_code == 401
        assert client.post("/predict", content=RED, headers={"x-api-key": "wrong"}).status_code == 401
        for shown in ({"x-api-key": "open sesame"}, {"authorization": "Bearer open sesame"}):
            assert client.post("/predict", content=RED, headers=shown).status_code == 200
        for path in ("/model", "/models", "/metrics", "/v2", "/nowhere"):
            refused = client.get(path)
            assert refused.status_code == 401
            assert "API key" in refused.json()["error" if path == "/v2" else "detail"]
        counts = server.live.metrics.requests
        assert counts["/predict", "POST", 401] == 2
        assert counts["unknown", "GET", 401] == 1
        for path in ("/", "/static/app.js", "/docs", "/openapi.json", "/healthz", "/readyz"):
            assert client.get(path).status_code == 200


def test_a_page_of_another_site_may_not_call(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with running(settings(tmp_path)) as server, server.client() as client:
        for origin in ("https://evil.example", "null", "http://[", "http://x]"):
            foreign = client.post("/predict", content=RED, headers={"origin": origin})
            assert foreign.status_code == 403, origin
        own = client.post("/predict", content=RED, headers={"origin": server.url})
        assert own.status_code == 200
        assert "access-control-allow-origin" not in own.headers


def test_a_page_that_is_named_may_ask_and_read_the_answer(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    keys = tmp_path / "keys"
    keys.write_text(f"minka:{hashlib.sha256(b'open sesame').hexdigest()}\n")
    named = settings(tmp_path, api_keys=keys, origins="https://App.example/, http://two.example:80")
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    with running(named) as server, server.client() as client:
        for origin in ("https://app.example", "http://two.example"):
            page = {"origin": origin}
            asked = client.options("/predict", headers=page | asks)
            assert asked.status_code == 200
            assert "x-api-key" in asked.headers["access-control-allow-headers"]
            shown = page | {"x-api-key": "open sesame"}
            for headers, content, status in [(shown, RED, 200), (shown, b"no photo", 400), (page, RED, 401)]:
                answer = client.post("/predict", content=content, headers=headers)
                assert answer.status_code == status
                assert answer.headers["access-control-allow-origin"] == origin
        foreign = {"origin": "https://evil.example"}
        assert "access-control-allow-origin" not in client.options("/predict", headers=foreign | asks).headers
        refused = client.post("/predict", content=RED, headers=foreign | {"x-api-key": "open sesame"})
        assert refused.status_code == 403


def test_any_page_may_ask_where_that_is_meant(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with running(settings(tmp_path, open=True, origins="*")) as server, server.client() as client:
        answer = client.post("/predict", content=RED, headers={"origin": "https://any.example"})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"


def test_a_page_whose_name_was_pointed_here_may_not_call(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with (
        running(settings(tmp_path, hosts="https://Paws.example, other:81,")) as server,
        server.client() as client,
    ):
        for host, status in [
            ("evil.example", 403), (f"evil.example:{server.port}", 403), ("[", 403), ("", 403),
            ("paws.example", 200), ("other:81", 200), ("localhost:8000", 200), ("[::1]:8000", 200),
        ]:  # fmt: skip
            headers = {"origin": f"http://{host}", "host": host}
            assert client.post("/predict", content=RED, headers=headers).status_code == status, host
    headers = {"origin": "http://any.example", "host": "any.example"}
    for names, status in [("", 200), ("paws.example", 403)]:
        with running(settings(tmp_path, open=True, hosts=names)) as server, server.client() as client:
            assert client.post("/predict", content=RED, headers=headers).status_code == status


def test_the_document_says_how_a_key_is_shown(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"me:{hashlib.sha256(b'secret').hexdigest()}\n")
    schema = create_app(Settings(_env_file=None, api_keys=keys)).openapi()
    assert schema["components"]["securitySchemes"]["key"]["name"] == "x-api-key"
    assert {"key": []} in schema["paths"]["/predict"]["post"]["security"]
    assert "security" not in schema["paths"]["/healthz"]["get"]
    assert set(schema["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == {"text/plain"}
    load = "/v2/repository/models/{name}/load"
    wanted = [{"key": [], "admin": []}, {"bearer": [], "admin": []}]
    assert schema["paths"][load]["post"]["security"] == wanted
    keyless = create_app(Settings(_env_file=None)).openapi()
    assert set(keyless["components"]["securitySchemes"]) == {"admin"}
    assert keyless["paths"][load]["post"]["security"] == [{"admin": []}]
    assert "security" not in keyless["paths"]["/predict"]["post"]


@pytest.mark.parametrize("content", ["", "# nobody\n", "minka:short\n", f"minka {'0' * 64}\n"])
def test_a_file_without_usable_keys_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(ServerError, match="keys"):
        read_keys(path)
    with pytest.raises(ServerError, match="cannot be read"):
        read_keys(tmp_path / "nowhere")


def test_the_key_of_an_empty_variable_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"robot:{hashlib.sha256(b'').hexdigest()}\n")
    with pytest.raises(ServerError, match="line 1: this is the SHA-256 of an empty key"):
        read_keys(path)


def test_keys_and_tokens_beyond_ascii_are_known(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    keys = tmp_path / "keys"
    keys.write_text(f"minka:{hashlib.sha256('schlüssel'.encode()).hexdigest()}\n")
    configured = settings(tmp_path, api_keys=keys, admin_token="geheimnis ß")
    with running(configured) as server, server.client() as client:
        shown = {"x-api-key": "schlüssel".encode(), "x-admin-token": "geheimnis ß".encode()}
        assert client.post("/v2/repository/models/colours/load", headers=shown).status_code == 200
