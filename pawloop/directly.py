"""This machine is asked directly, whatever proxy the environment names for the rest of the world.

Knows the variables that httpx, Prefect's client and curl go by. Knows nothing about who asks what.
"""

from __future__ import annotations

import os
from typing import Final

_HERE: Final = ("127.0.0.1", "localhost", "::1")
_VARIABLES: Final = ("no_proxy", "NO_PROXY")


def bypass_proxy() -> None:
    """Let this process, and those that it starts, ask no proxy for this machine itself."""
    named = next(filter(None, map(os.environ.get, _VARIABLES)), "")
    hosts = [host.strip() for host in named.split(",") if host.strip()]
    if "*" in hosts:  # nobody asks a proxy for anything, and most read it only where it stands alone
        return
    os.environ |= dict.fromkeys(_VARIABLES, ",".join(dict.fromkeys([*hosts, *_HERE])))


def is_here(host: str) -> bool:
    """Whether a host is called by one of the loopback's usual names."""
    return host in _HERE
