"""Names by which browsers reach a server of this machine, and call the pages that they come from.

A page may have its own name point here once it is loaded (DNS rebinding), so that it and the server seem to
be one. Knows Host and Origin headers and addresses; knows nothing about servers.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

_USUAL_PORTS = {"http": ":80", "https": ":443"}


def listed(names: str) -> frozenset[str]:
    """The names of a list with commas, whether each has a scheme or a port or not."""
    return frozenset(map(name_in, names.split(","))) - {""}


def name_in(address: str) -> str:
    """The name in an address, or in a host alone; empty where there is none."""
    return name_of(address.strip().rpartition("//")[2])


def name_of(host: str) -> str:
    """A host without its port, in small letters; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_known(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header tells an address, this machine or one of `names`, which no stranger gave it."""
    name = name_of(host)
    if name in names or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def origin_of(address: str) -> str:
    """An address as browsers name the pages that lie there: in small letters, without a port that is usual.

    `*` stays. Raises ValueError for what names more or less than an origin (RFC 6454, section 6.2).
    """
    if address == "*":
        return address
    parts = urlsplit(address.lower().rstrip("/"))
    origin = f"{parts.scheme}://{parts.netloc}"
    is_one = parts.scheme and parts.hostname and parts.port != 0 and parts.geturl() == origin
    if not is_one or "@" in origin or not origin.isascii():
        raise ValueError("must be origins such as https://app.example:8443, comma separated, or *")
    return origin.removesuffix(_USUAL_PORTS.get(parts.scheme, ""))
