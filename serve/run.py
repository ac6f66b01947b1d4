"""Start the server: its socket, its log, its end.

Knows uvicorn, and who may reach what. Knows nothing about what is served.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from pawloop import durable
from pawloop.errors import ServerError
from pawloop.registry import name_of
from pawloop.session import require_provider
from pawloop.settings import Settings
from serve import calls, loading, memory

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)

_LAST_ANSWERS_S: Final = 15
_BACKLOG: Final = 512
_FILES: Final = (65_536, 10_240)  # tried where a system calls the limit unlimited and lets nobody have that


def run(settings: Settings, *, uds: Path | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM, then answer what is in flight and return.

    uds: a Unix socket to listen on, in place of host and port. Raises ServerError when the address is
    taken, and as `require_startable` does.
    """
    memory.arrange()
    take_descriptors()
    ending = _Ending()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    name = name_of(settings.store, settings.problem)
    require_startable(settings, is_local=uds is not None)
    with listening_at(uds) if uds else closing(listen(settings.host, settings.port)) as listener:
        head_start = loading.HeadStart(settings, name)
        try:
            _serve(settings, head_start, listener, ending)
        finally:
            head_start.take()  # or a thread in onnxruntime's C++ would abort the process at its end


def _serve(
    settings: Settings, head_start: loading.HeadStart, listener: socket.socket, ending: _Ending
) -> None:
    import uvicorn  # these take as long to import as the model to load, so both go on at once

    from serve.app import create_app
    from serve.lending import LendingLane
    from serve.unread import Server

    app = create_app(settings, head_start)
    config = uvicorn.Config(
        calls.Logged(app) if settings.access_log else app,
        root_path=settings.root_path,
        http=LendingLane,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=_LAST_ANSWERS_S,
        backlog=_BACKLOG,
    )
    server = ending.server = Server(config)
    if ending.is_asked:
        return
    log.info("%s", _addresses(settings, listener))
    server.run([listener])
    if not server.started:
        raise ServerError("the server did not start; the lines above say why")


def require_startable(settings: Settings, *, is_local: bool = False) -> None:
    """Raise ServerError for a door that is open unmeant, SettingsError for a provider that is not installed.

    is_local: whether nobody from another machine can call, whatever PAWLOOP_HOST says.
    """
    if not is_local:
        refuse_open_door(settings)
    refuse_any_page(settings)
    if settings.provider != "auto":
        require_provider(settings.provider)


def require_usable(settings: Settings) -> None:
    """As `require_startable`, and for API keys that cannot be used, which a server finds as it starts."""
    require_startable(settings)
    if settings.api_keys:
        from serve.access import read_keys

        read_keys(settings.api_keys)


def refuse_open_door(settings: Settings) -> None:
    """Raise ServerError when others than this machine could call without a key, and nobody meant it."""
    if _is_loopback(settings.host) or settings.api_keys or settings.open:
        return
    raise ServerError(
        f"PAWLOOP_HOST={settings.host} lets other machines call this server without a key; set "
        "PAWLOOP_API_KEYS to a file of keys, or PAWLOOP_OPEN=1 if that is meant, or PAWLOOP_HOST=127.0.0.1"
    )


def refuse_any_page(settings: Settings) -> None:
    """Raise ServerError when every page that somebody opens here could call without a key, unmeant."""
    if "*" in settings.allowed_origins and not settings.api_keys and not settings.open:
        raise ServerError(
            "PAWLOOP_ORIGINS=* lets every page that is opened on this machine call this server without a "
            "key; name the pages' origins, or set PAWLOOP_API_KEYS to a file of keys, or PAWLOOP_OPEN=1 if "
            "that is meant"
        )


def take_descriptors() -> None:
    """Raise this process's limit of open files as far as the system lets it: a connection may need two."""
    if sys.platform == "win32":
        return
    import resource

    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (most, *(one for one in _FILES if one > now)):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
            return


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Raises ServerError that names it when it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ServerError(f"PAWLOOP_HOST={host} is no address of this machine: {error.strerror}") from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ServerError(
            f"cannot listen on {host} port {port}: {error.strerror}; "
            "stop what uses it, or choose another port with PAWLOOP_PORT"
        ) from None
    return listener


@contextmanager
def listening_at(path: Path) -> Iterator[socket.socket]:
    """A Unix socket that every user of this machine may call, taken away again at the end.

    Raises ServerError where none can be had at this path, or another server answers there.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            if path.is_socket() and not _is_answered(path):
                path.unlink()  # left by a server that was killed
            listener.bind(str(path))
            path.chmod(0o666)  # a proxy in front runs as somebody else
            listener.listen(_BACKLOG)
            mine = durable.stamp(path)
        except OSError as error:
            raise ServerError(
                f"cannot listen on {path}: {error.strerror or error}; "
                "stop what uses it, or name another --uds"
            ) from None
        try:
            yield listener
        finally:
            if durable.stamp(path) == mine:  # a successor may have it while the last answers went out
                with suppress(OSError):
                    path.unlink()


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex(str(path)) == 0


class _Ending:
    """Hears SIGINT and SIGTERM before uvicorn does, and at its end, when uvicorn raises them once more.

    server: the uvicorn.Server to end, as soon as there is one.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self.server: uvicorn.Server | None = None
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._hear)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.is_asked = True
        if self.server:
            self.server.should_exit = True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _addresses(settings: Settings, listener: socket.socket) -> str:
    address, host = listener.getsockname(), settings.host
    if isinstance(address, str):
        url, pages = address, ""
    else:
        url = f"http://[{host}]:{address[1]}" if ":" in host else f"http://{host}:{address[1]}"
        pages = f" (page), {url}/docs (API)"
    if settings.root_path:  # by which /docs names all that it loads, so only the proxy shows that
        pages = f", behind a proxy as {settings.root_path}"
    return f"Pawloop serves at {url}{pages}"
