"""Requests that are wrong: photos, forms, JSON, tensors and HTTP, mutated by seed.

What is asked: no 5xx but 503, a process that lives on, memory that stays. Knows bytes and how to break them;
knows nothing about how the server defends itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

from PIL import Image

from bench import contestants, requests
from bench.contestants import Contestant, Range, ours
from bench.models import Model

_AT_ONCE: Final = 32  # some wait until the server gives them up
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
_ANSWER_S: Final = 3.0  # longer than the server waits for the rest of a body


@dataclass(frozen=True)
class Rubbish:
    """What came of it. statuses: answers by status, 0 where none came."""

    count: int
    statuses: dict[int, int]
    lives: bool
    rss_mb: float
    rss_after_mb: float

    @property
    def failures(self) -> int:
        """Answers that say that the server is at fault."""
        return sum(count for status, count in self.statuses.items() if status >= 500 and status != 503)


def thrown(model: Model, ground: Range, count: int, seed: int = 0) -> Rubbish:
    """Send `count` mutated requests, some at once, then a good one."""
    dice = random.Random(seed)
    who = Contestant("Pawloop, mistreated", variables=ours(JOURNAL="", UPLOAD_TIMEOUT_S="1"))
    with contestants.running(who, model, ground) as (child, folder):
        good = sorted(folder.iterdir())[0].read_bytes()
        mutants = mutated(ground.photos, dice)
        with ThreadPoolExecutor(_AT_ONCE) as senders:
            list(senders.map(partial(_sent, child.port), islice(mutants, count // 10)))
            before = child.rss_mb()
            statuses = Counter(senders.map(partial(_sent, child.port), islice(mutants, count)))
        return Rubbish(count, dict(statuses), _sent(child.port, good) == 200, before, child.rss_mb())


def mutated(photos: Sequence[bytes], dice: random.Random) -> Iterator[bytes]:
    """Whole HTTP requests, without end, each wrong in a way of its own; a few happen to be right."""
    encoded = [_as(kind, photo) for photo in photos[:4] for kind in _FORMATS]
    forms = [requests.made(photo, "form", "/predict") for photo in photos[:4]]
    calls = [requests.made(photo, "v2", "/v2/models/bench/infer") for photo in photos[:4]]
    ways = (
        lambda: requests.posted("/predict", "image/jpeg", _broken(dice.choice(encoded), dice)),
        lambda: requests.posted("/v2/models/bench/infer", "application/json", _json(dice)),
        lambda: requests.posted("/predict", "application/json", _json(dice)),
        lambda: _body_broken(dice.choice(forms), dice),
        lambda: _body_broken(dice.choice(calls), dice),
        lambda: requests.posted("/predict", "image/png", _bomb(dice)),
        lambda: _tensor(dice),
        lambda: _wrong_length(dice.choice(encoded), dice),
        lambda: _chunked(dice.choice(encoded), dice),
        lambda: _broken(dice.choice(forms)[:600], dice),
    )
    while True:
        yield dice.choice(ways)()


def _broken(content: bytes, dice: random.Random) -> bytes:
    """Cut, flipped, doubled or with a hole."""
    mutant = bytearray(content)
    kind = dice.randrange(4)
    place = dice.randrange(len(mutant))
    if kind == 0:
        del mutant[place:]
    elif kind == 1:
        for _ in range(dice.choice((1, 10, 200))):
            mutant[dice.randrange(len(mutant))] = dice.randrange(256)
    elif kind == 2:
        mutant[place:place] = mutant[: dice.randrange(2000)]
    else:
        del mutant[place : place + dice.randrange(1, 3000)]
    return bytes(mutant)


def _body_broken(request: bytes, dice: random.Random) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    broken = _broken(body, dice)
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(broken), b"", broken])


def _json(dice: random.Random) -> bytes:
    leaf: list[object] = [None, True, -1, 1e308, "", "!!!", "A" * 1000, [], {}, [[[]]], 2**70]
    names = ["image", "images", "inputs", "outputs", "parameters", "id", "name", "shape", "datatype", "data"]
    names += ["photo", "binary_data_size"]

    def value(depth: int) -> object:
        kind = dice.randrange(4 if depth < 4 else 1)
        if kind == 1:
            return [value(depth + 1) for _ in range(dice.randrange(4))]
        if kind > 1:
            return {dice.choice(names): value(depth + 1) for _ in range(dice.randrange(5))}
        return dice.choice([*leaf, *names, "UINT8", "BYTES"])

    text = json.dumps(value(0)).encode()
    return _broken(text, dice) if text and dice.random() < 0.3 else text


def _bomb(dice: random.Random) -> bytes:
    """A picture whose header promises more than the limit, or than memory."""
    file = io.BytesIO()
    Image.new("1", (8, 8)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = dice.choice((60_000, 2**31 - 1, 10_000)).to_bytes(4, "big") * 2
    return bytes(content)


def _tensor(dice: random.Random) -> bytes:
    shape = dice.choice(([1, 224, 224, 3], [0], [-1, 3], [2**40], [1, 224, 224], [10**6, 224, 224, 3], []))
    size = dice.choice((0, 1, 150528, 10**9, -5))
    entry: dict[str, object] = {
        "name": dice.choice(("image", "photo", "x")),
        "datatype": dice.choice(("UINT8", "BYTES", "FP32")),
    }
    entry |= {"shape": shape, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [entry]}).encode()
    told = dice.choice((len(head), 0, 10**9, len(head) - 1))
    body = head + bytes(dice.choice((0, 1, 150528)))
    return requests.posted(
        "/v2/models/bench/infer",
        "application/octet-stream",
        body,
        f"Inference-Header-Content-Length: {told}\r\n",
    )


def _wrong_length(content: bytes, dice: random.Random) -> bytes:
    told = dice.choice((0, 1, len(content) + 100, 10**12))
    return f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {told}\r\n\r\n".encode() + content


def _chunked(content: bytes, dice: random.Random) -> bytes:
    size = dice.choice((b"%x" % len(content), b"fffffffff", b"zz", b"0"))
    end = dice.choice((b"\r\n0\r\n\r\n", b"\r\n", b""))
    return b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n%s%s" % (
        size, content, end,
    )  # fmt: skip


def _as(kind: str, photo: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(photo)).convert("RGB").resize((120, 90)).save(file, kind)
    return file.getvalue()


def _sent(port: int, request: bytes) -> int:
    """The status of the answer, 0 where none came."""
    with socket.create_connection(("127.0.0.1", port), _ANSWER_S) as connection:
        with contextlib.suppress(
            OSError
        ):  # refused before all was sent; the answer may be there all the same
            connection.sendall(request)
        try:
            answer = connection.recv(64)
        except OSError:
            return 0
    return int(answer[9:12]) if answer[:5] == b"HTTP/" else 0
