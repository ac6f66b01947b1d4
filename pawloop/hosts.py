"""Names by which browsers reach a server of this machine.

A page may have its own name point here once it is loaded (DNS rebinding), so that it and the server seem to
be one. Knows Host headers and addresses; knows nothing about servers.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


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
