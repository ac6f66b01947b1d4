from __future__ import annotations

import gc
import socket
import struct
import time
import weakref
from pathlib import Path

import pytest

from serve import heads
from tests import published
from tests.serve.running import Running, answers, running, settings, until


def talk(server: Running, *pieces: bytes) -> bytes:
    """All that the server says to these pieces until it closes or has answered."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break  # it refused already
            time.sleep(0.02)
        connection.settimeout(5)
        try:
            return connection.recv(1 << 16)
        except ConnectionResetError:
            return b""


def test_a_head_past_the_limit_is_refused_in_one_piece_and_in_many(server: Running) -> None:
    large = b"x-large: " + b"a" * heads.LIMIT_BYTES
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + large + b"\r\n\r\n"
    assert talk(server, whole).startswith(b"HTTP/1.1 431 ")
    parts = [b"GET /healthz HTTP/1.1\r\n", *[b"x-%d: %s\r\n" % (n, b"a" * 3000) for n in range(20)]]
    assert talk(server, *parts)[:12] in (b"HTTP/1.1 431", b"")  # reset, where we still wrote


@pytest.mark.parametrize("path", [b"GET /healthz", b"POST /predict"])
def test_an_empty_line_does_not_hold_an_idle_connection_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: bytes
) -> None:
    monkeypatch.setattr(heads, "TIME_S", 0.5)
    published.champion(tmp_path / "store")
    photo = published.photo("red")
    body = photo if path.startswith(b"POST") else b""
    asked = b"%s HTTP/1.1\r\nHost: x\r\ncontent-length: %d\r\n\r\n%s" % (path, len(body), body)
    with (
        running(settings(tmp_path)) as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as connection,
    ):
        connection.sendall(asked)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        time.sleep(0.2)
        connection.sendall(b"\r\n")
        connection.sendall(asked)  # after one that nobody minds
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        time.sleep(0.2)
        connection.sendall(b"\r\n")
        assert connection.recv(1 << 16) == b""


_CHUNKED = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize("behind", [b"x: %s\r\n" % (b"a" * 3000), b"a" * 3000], ids=["fields", "one value"])
def test_what_stands_behind_the_chunks_has_the_limit_of_a_head(server: Running, behind: bytes) -> None:
    parts = [b"3\r\nabc\r\n0\r\nx: ", b"y\r\n" if behind.startswith(b"x") else b"", *[behind] * 20]
    assert talk(server, _CHUNKED, *parts)[:12] in (b"HTTP/1.1 431", b"")  # reset, where we still wrote


def test_a_field_behind_the_chunks_is_no_header(server: Running) -> None:
    photo = published.photo("red")
    whole = b"%x\r\n%s\r\n0\r\nx-request-timeout-ms: nonsense\r\n\r\n" % (len(photo), photo)
    for parts in ((_CHUNKED + whole,), (_CHUNKED, whole)):
        assert talk(server, *parts).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "path",
    ["/", "/static/app.js", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/model", "/models",
     "/v2", "/v2/health/ready", "/v2/models/colours"],
)  # fmt: skip
def test_what_answers_get_answers_head_without_the_body(server: Running, path: str) -> None:
    ask = f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection, server.client() as client:
        for _ in range(2):  # so that a body would stand before the second answer
            connection.sendall(ask)
            told = b""
            while not told.endswith(b"\r\n\r\n"):
                told += connection.recv(1 << 16)
            head, _, rest = told.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert rest == b""
        whole = client.get(path)
        if path != "/metrics":  # whose numbers differ by then
            assert b"content-length: %d" % len(whole.content) in head.lower()
        assert whole.headers["content-type"].encode() in head


def test_what_answers_post_alone_does_not_answer_head(server: Running) -> None:
    with server.client() as client:
        refused = client.head("/predict")
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
        assert client.head("/nothing").status_code == 404
        assert "head" not in client.get("/openapi.json").json()["paths"]["/healthz"]


def test_a_large_body_behind_a_small_head_is_no_large_head(server: Running) -> None:
    photo = published.photo("red", (1500, 1500)) + bytes(heads.LIMIT_BYTES)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(photo)
    assert talk(server, head + photo).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_begins_behind_a_body_is_not_charged_for_it(server: Running) -> None:
    photo = published.photo("red") + bytes(heads.LIMIT_BYTES)
    whole = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(photo) + photo
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(whole + whole[:20])
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 200 ")
        connection.sendall(whole[20:])
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 200 ")


def test_a_large_head_that_begins_behind_a_body_is_refused(server: Running) -> None:
    photo = published.photo("red")
    whole = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(photo) + photo
    large = b"GET /healthz HTTP/1.1\r\nHost: x\r\nx-large: " + b"a" * heads.LIMIT_BYTES
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(whole + large)
        time.sleep(0.1)
        connection.sendall(b"\r\n\r\n")
        told = b""
        while piece := connection.recv(1 << 16):
            told += piece
        assert b"HTTP/1.1 431 " in told


def test_a_large_head_behind_a_call_that_is_not_answered_asks_nothing_twice(server: Running) -> None:
    photo = published.photo("red", (900, 900))
    whole = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(photo) + photo
    large = b"GET /healthz HTTP/1.1\r\nHost: x\r\nx-large: " + b"a" * 2 * heads.LIMIT_BYTES + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(whole + large)
        while connection.recv(1 << 16):
            pass
    until(lambda: server.live.metrics.in_flight == 0)
    until(lambda: server.live.afterwards._expected == 0)


def test_heads_that_follow_on_one_connection_are_counted_each_for_itself(server: Running) -> None:
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\nx-half: " + b"a" * (heads.LIMIT_BYTES // 2) + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        for _ in range(4):
            connection.sendall(ask)
            assert answers(connection, 1)[0].startswith(b"HTTP/1.1 200 ")


def test_a_head_that_does_not_come_is_given_up(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "TIME_S", 0.2)
    began = time.monotonic()
    assert talk(server, b"GET /healthz HTTP/1.1\r\nHost:") == b""
    assert talk(server) == b""
    assert time.monotonic() - began < 4


def test_a_connection_that_is_reset_keeps_nothing_alive(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as server:
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answers(connection, 1)
            [protocol] = server.server.server_state.connections
            left = weakref.ref(protocol)
            del protocol
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: gc.collect() >= 0 and left() is None, 2)  # sooner than any idle connection is closed


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"


@pytest.mark.parametrize("path", [b"/predict", b"/v2/models/colours/infer"])
def test_an_offer_of_another_protocol_is_passed_over_and_the_body_is_read(
    server: Running, path: bytes
) -> None:
    photo = published.photo("red")
    head = b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (path, OFFER, len(photo))
    expected = b"HTTP/1.1 200 " if path == b"/predict" else b"HTTP/1.1 400 "  # a photo is no tensor
    for pieces in ((head + photo,), (head, photo), (head[:70], head[70:], photo[:99], photo[99:])):
        said = talk(server, *pieces)
        assert said.startswith(expected), said
        assert b"Invalid HTTP request" not in said


def test_behind_an_offer_the_connection_goes_on_or_closes_as_it_was_asked(server: Running) -> None:
    photo = published.photo("red")
    plain = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n" % (len(photo), OFFER) + photo
    last = plain.replace(b"Connection: Upgrade", b"Connection: close, Upgrade")
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        for whole in (plain, plain, last):
            connection.sendall(whole)
            assert answers(connection, 1)[0].startswith(b"HTTP/1.1 200 ")
        assert connection.recv(1) == b""


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_call_for_a_proxy_is_refused_and_the_server_lives(server: Running, before: bytes) -> None:
    said = talk(server, before + b"CONNECT y:1 HTTP/1.1\r\nHost: y\r\n\r\n")
    assert b"HTTP/1.1 400 " in said
    with server.client() as client:
        assert client.get("/healthz").status_code == 200


def test_a_websocket_is_refused_as_any_path_that_is_not_there(server: Running) -> None:
    asked = b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert talk(server, asked).startswith(b"HTTP/1.1 404 ")
