"""A client that asks and does not read its answer."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from serve.lane import Lane
from tests import published
from tests.serve.running import Running, running, settings, until

ASKED = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n%s\r\n"


def connection_to(server: Running) -> tuple[socket.socket, Lane]:
    """A connection through which hardly anything fits, and the server's end of it."""
    client = socket.socket()
    client.settimeout(10)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    before = set(server.server.server_state.connections)
    client.connect(("127.0.0.1", server.port))
    until(lambda: server.server.server_state.connections - before)
    (lane,) = server.server.server_state.connections - before
    assert isinstance(lane, Lane)
    lane.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    return client, lane


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"])
def test_an_answer_that_nobody_reads_is_not_kept_for_ever(tmp_path: Path, last: bytes) -> None:
    published.champion(tmp_path / "store")
    with running(settings(tmp_path), unread_s=0.6) as server:
        client, lane = connection_to(server)
        with client:
            client.sendall(ASKED % last)
            until(lambda: lane.transport.get_write_buffer_size() > 0)
            until(lambda: lane not in server.server.server_state.connections)


def test_who_reads_slowly_gets_all_of_it(tmp_path: Path) -> None:
    published.champion(tmp_path / "store")
    with running(settings(tmp_path), unread_s=0.6) as server:
        client, lane = connection_to(server)
        with client:
            client.sendall(ASKED % b"Connection: close\r\n")
            until(lambda: lane.transport.get_write_buffer_size() > 0)
            received, end = b"", time.monotonic() + 2
            while time.monotonic() < end:
                received += client.recv(500)
                time.sleep(0.1)
            while piece := client.recv(1 << 16):
                received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        assert b"content-length: %d" % len(body) in head
