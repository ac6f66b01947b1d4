"""Photos as whole HTTP requests, in each of the ways that servers want them.

Knows the bytes on the wire. Knows nothing about who sends them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Form = Literal["raw", "form", "v2"]

_BOUNDARY = "bench0bench0bench0bench0"


def written(
    folder: Path, photos: Sequence[bytes], form: Form, path: str, headers: str = ""
) -> tuple[Path, bytes]:
    """Write a file a request into a folder, for the load generator; the folder, and the first request."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = [made(photo, form, path, headers) for photo in photos]
    for number, content in enumerate(contents):
        (folder / f"{number:04}").write_bytes(content)
    return folder, contents[0]


def tensor(pixels: NDArray[np.uint8], path: str) -> bytes:
    """Pixels [1, S, S, 3] for `/v2`, in binary, the probabilities asked for in binary."""
    head = json.dumps(
        {
            "inputs": [
                {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape),
                 "parameters": {"binary_data_size": pixels.size}}
            ],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
        }
    ).encode()  # fmt: skip
    extra = f"Inference-Header-Content-Length: {len(head)}\r\n"
    return posted(path, "application/octet-stream", head + pixels.tobytes(), extra)


def made(photo: bytes, form: Form, path: str, headers: str = "") -> bytes:
    if form == "raw":
        return posted(path, "image/jpeg", photo, headers)
    if form == "form":
        body = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        body += photo + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return posted(path, f"multipart/form-data; boundary={_BOUNDARY}", body, headers)
    text = base64.b64encode(photo).decode()
    call = {
        "inputs": [
            {"name": "photo", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"},
             "data": [text]}
        ]
    }  # fmt: skip
    return posted(path, "application/json", json.dumps(call).encode(), headers)


def posted(path: str, kind: str, body: bytes, headers: str = "") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body
