"""Tensors on the wire: requests and answers of the Open Inference Protocol, in JSON and in binary.

https://github.com/kserve/open-inference-protocol with Triton's extensions for binary tensors and for
classification. Knows the bytes; knows nothing about models, photos or routes.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from serve.parsing import parsed

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
MAX_PHOTOS: Final = 1000
_MOST_VALUES: Final = 1 << 31
_MOST_DIMENSIONS: Final = 16
_LONGEST_US: Final = 10**15
_MOST_DIGITS: Final = 9
_VALUES_AT_ONCE: Final = 4096

Tensor = NDArray[np.uint8] | NDArray[np.float32] | list[bytes]


@dataclass(frozen=True, slots=True)
class Asked:
    """How an output is to come. top: so many classes in words, the likeliest first; 0 wants the values."""

    is_binary: bool
    top: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A request for inference. outputs: those wanted, by name; None wants all.

    is_binary: how outputs come that do not say so themselves. timeout_s: from `parameters`, or None.
    """

    id: str | None
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Asked] | None
    is_binary: bool
    timeout_s: float | None


def too_many() -> HTTPException:
    """The error of a request with more photos than any may have."""
    return HTTPException(413, f"more than {MAX_PHOTOS:,} photos in one request")


def header_length(said: str | None) -> int | None:
    """What a request's header says of its JSON's length; None where there is no such header.

    Raises HTTPException 400 for what is no length.
    """
    if said is None:
        return None
    if not said.isdecimal() or len(said) > _MOST_DIGITS:
        raise HTTPException(400, f"{HEADER_LENGTH}: {said!r} is no length")
    return int(said)


def read(content: bytes, header_length: int | None) -> Call:
    """A request's body. header_length: of the JSON before the binary part, None when all is JSON.

    Raises HTTPException 400 that names what is wrong.
    """
    size = len(content) if header_length is None else header_length
    if not 0 <= size <= len(content):
        raise HTTPException(400, f"{HEADER_LENGTH} says {size}, the body has {len(content)} bytes")
    value = parsed(content[:size], "the request")
    if not isinstance(value, dict) or not isinstance(value.get("inputs"), list):
        raise HTTPException(400, 'the request has no list "inputs"')
    binary = memoryview(content)[size:]
    inputs: dict[str, Tensor] = {}
    for entry in value["inputs"]:
        name, tensor, used = _input(entry, binary)
        if name in inputs:
            raise HTTPException(400, f'input "{name}" comes twice')
        inputs[name] = tensor
        binary = binary[used:]
    if len(binary):
        raise HTTPException(400, f"{len(binary)} bytes are left over behind the last input")
    parameters = _parameters(value)
    is_binary = parameters.get("binary_data_output") is True
    timeout = parameters.get("timeout")
    return Call(
        id=value["id"] if isinstance(value.get("id"), str) else None,
        inputs=inputs,
        outputs=_outputs(value.get("outputs"), is_binary),
        is_binary=is_binary,
        timeout_s=timeout / 1e6 if isinstance(timeout, int) and 0 < timeout < _LONGEST_US else None,
    )


def write(
    header: dict[str, Any],  # Any: JSON
    outputs: Mapping[str, Tensor],
    asked: Mapping[str, Asked],
) -> tuple[bytes, int | None]:
    """An answer's body, and the length of the JSON before its binary part (None when all is JSON)."""
    described, pieces = [], []
    for name, tensor in outputs.items():
        entry: dict[str, Any] = {  # Any: JSON
            "name": name,
            "datatype": "BYTES" if isinstance(tensor, list) else "FP32",
            "shape": _shape(tensor, asked[name].top),
        }
        if asked[name].is_binary:
            piece = _packed(tensor) if isinstance(tensor, list) else np.ascontiguousarray(tensor).tobytes()
            entry["parameters"] = {"binary_data_size": len(piece)}
            pieces.append(piece)
            described.append(json.dumps(entry))
        elif isinstance(tensor, list):
            described.append(json.dumps({**entry, "data": [text.decode() for text in tensor]}))
        else:
            described.append(_with_list(entry, "data", _numbers(tensor)))
    head = _with_list(header, "outputs", described).encode()
    return (head + b"".join(pieces), len(head)) if pieces else (head, None)


def _with_list(value: dict[str, Any], key: str, entries: Iterable[str]) -> str:  # Any: JSON
    """The JSON of an object that has fields, with one more: a list, whose entries are JSON already."""
    return f'{json.dumps(value)[:-1]}, "{key}": [{", ".join(entries)}]}}'


def _numbers(tensor: NDArray[np.generic]) -> Iterator[str]:
    """A tensor's values as JSON, some at a time: json holds the interpreter's lock while it writes."""
    values = np.ravel(tensor)
    for first in range(0, len(values), _VALUES_AT_ONCE):
        yield json.dumps(values[first : first + _VALUES_AT_ONCE].tolist())[1:-1]


def classified(values: NDArray[np.float32], classes: Sequence[str], count: int) -> list[bytes]:
    """The `count` likeliest classes of each row [N, C] as "value:index:label", row after row.

    https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_classification.html
    """
    best = np.argsort(-values, axis=1, kind="stable")[:, :count]
    return [
        f"{row[index]:.9f}:{index}:{classes[index]}".encode()
        for row, order in zip(values, best, strict=True)
        for index in order
    ]


def _shape(tensor: Tensor, top: int) -> list[int]:
    if isinstance(tensor, list):
        return [len(tensor) // top, top] if top else [len(tensor)]
    return list(tensor.shape)


def _input(entry: Any, binary: memoryview) -> tuple[str, Tensor, int]:  # Any: JSON
    """One input's name and tensor, and how many of the binary part's bytes it took."""
    match entry:
        case {"name": str(name), "datatype": str(datatype), "shape": [*dimensions]}:
            pass
        case _:
            raise HTTPException(400, "an input lacks its name, datatype or shape")
    is_shape = all(type(size) is int and size > 0 for size in dimensions)
    if not is_shape or len(dimensions) > _MOST_DIMENSIONS or prod(dimensions) > _MOST_VALUES:
        raise HTTPException(400, f'input "{name}": {dimensions} is no shape')
    count = prod(dimensions)
    if datatype not in ("UINT8", "BYTES"):
        raise HTTPException(400, f'input "{name}": {datatype}, only UINT8 and BYTES are taken')
    if datatype == "BYTES" and count > MAX_PHOTOS:
        raise too_many()
    used = _parameters(entry).get("binary_data_size", 0)
    if type(used) is not int or not 0 <= used <= len(binary):
        raise HTTPException(400, f'input "{name}": binary_data_size is {used}, {len(binary)} bytes are there')
    if "data" not in entry:
        piece = binary[:used]
        tensor = _unpacked(name, piece, count) if datatype == "BYTES" else np.frombuffer(piece, np.uint8)
    elif datatype == "BYTES":
        tensor = _texts(name, entry["data"], count)
    else:
        tensor = _pixels(name, entry["data"])
    if len(tensor) != count:
        raise HTTPException(400, f'input "{name}": {len(tensor)} values do not fill shape {dimensions}')
    return name, tensor if isinstance(tensor, list) else tensor.reshape(dimensions), used


def _pixels(name: str, data: Any) -> NDArray[np.uint8]:  # Any: JSON
    try:
        return np.array(_whole_numbers(data), np.uint8)
    except (ValueError, OverflowError):
        raise HTTPException(400, f'input "{name}": data must be whole numbers from 0 to 255') from None


def _whole_numbers(data: Any) -> list[int]:  # Any: JSON
    """The numbers in a list, or in lists of lists of one length each. Raises ValueError for all else.

    NumPy would make room for as many of the longest text as there are entries, before anybody looks at it.
    """
    level = [data]
    while set(map(type, level)) == {list} and len(set(map(len, level))) == 1:
        level = list(chain.from_iterable(level))
    if set(map(type, level)) != {int}:
        raise ValueError("not whole numbers")
    return level


def _texts(name: str, data: Any, count: int) -> list[bytes]:  # Any: JSON
    # JSON has no bytes, so encoded photos come as base64 here; in binary they come as they are.
    try:
        flat = [text for row in data for text in (row if isinstance(row, list) else [row])]
        return [base64.b64decode(text, validate=True) for text in flat[: count + 1]]
    except (TypeError, ValueError):
        raise HTTPException(400, f'input "{name}": data must be texts in base64') from None


def _unpacked(name: str, piece: memoryview, count: int) -> list[bytes]:
    """`count` elements of a BYTES tensor, each behind its length in four bytes, the lowest first."""
    elements: list[bytes] = []
    place = 0
    while place < len(piece) and len(elements) < count:
        if place + 4 > len(piece):
            break
        (length,) = struct.unpack_from("<I", piece, place)
        place += 4
        elements.append(bytes(piece[place : place + length]))
        place += length
    if place != len(piece):
        raise HTTPException(400, f'input "{name}": the lengths in it do not add up to its size')
    return elements


def _packed(texts: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _outputs(wanted: Any, is_binary: bool) -> dict[str, Asked] | None:  # Any: JSON
    if not wanted:
        return None
    try:
        return {entry["name"]: _asked(_parameters(entry), is_binary) for entry in wanted}
    except (TypeError, KeyError):
        raise HTTPException(400, 'an entry of "outputs" lacks its name') from None


def _asked(parameters: Mapping[str, Any], is_binary: bool) -> Asked:  # Any: JSON
    top = parameters.get("classification", 0)
    if type(top) is not int or top < 0:
        raise HTTPException(400, f"classification is {top!r}, not how many classes to name")
    return Asked(parameters.get("binary_data", is_binary) is True, top)


def _parameters(entry: Any) -> dict[str, Any]:  # Any: JSON
    value = entry.get("parameters")
    return value if isinstance(value, dict) else {}
