from __future__ import annotations

import re

import httpx
import pytest


def test_the_page_and_its_files_come_from_this_server_alone(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "://" not in page.text
    for file in re.findall(r'(?:href|src)="(static/[^"]+)"', page.text):
        response = client.get(f"/{file}")
        assert response.status_code == 200
        again = client.get(f"/{file}", headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("said", ["{tag}", "W/{tag}", '"a", W/"b",{tag}', '"a" , W/{tag}', "*"])
def test_a_file_that_its_reader_holds_is_not_sent_again(client: httpx.Client, said: str) -> None:
    tag = client.get("/static/app.js").headers["etag"]
    held = client.get("/static/app.js", headers={"if-none-match": said.format(tag=tag)})
    assert (held.status_code, held.content, held.headers["etag"]) == (304, b"", tag)
    for other in ('"a"', 'W/"a", "b"', tag.strip('"')):
        assert client.get("/static/app.js", headers={"if-none-match": other}).status_code == 200


def test_the_documentation_works_without_network(client: httpx.Client) -> None:
    page = client.get("/docs").text
    files = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert "/docs/swagger-ui-bundle.js" in files
    for file in files:
        assert file.startswith("/"), f"{file} is elsewhere"
        assert client.get(file).status_code == 200


def test_every_call_is_documented_with_an_example(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, told in methods.items():
            assert "127.0.0.1:8000" in told["description"], f"{method} {path} has no example"


def test_no_file_outside_the_page_is_served(client: httpx.Client) -> None:
    for name in ("__init__.py", "..%2Fapp.py", "%2Fetc%2Fpasswd", "nothing.js"):
        assert client.get(f"/static/{name}").status_code == 404
