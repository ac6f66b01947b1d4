"""A Prefect server for one command: started where none is up, gone when the command has ended.

`python -m flows.passing_server` is its process. It prints the port that it chose, and serves until its
standard input ends: so it outlives no command, however that was ended. Knows nothing about flows.
"""

from __future__ import annotations

import atexit
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from flows import prefect_server, stack
from pawloop.errors import ServerError

if TYPE_CHECKING:
    import uvicorn

_ERROR = re.compile(r"[\w.]*(Error|Exception): ")  # so begins the last line of a traceback
_READY_S = 120.0  # a busy machine needs a good part of it for Prefect's imports
_ENDS_S = 8.0  # that it may take once nobody needs it any more
_ASKS_S = 3  # that calls which have begun are given of it


def start(store: Path) -> str:
    """Start one on a store's Prefect database, for as long as this process lives. Gives its API's address.

    To be called before Prefect is imported: what that still tells its server at the exit must find it there.
    Ctrl-C does not reach the server, as a run that is stopped has to tell it so. What it logs goes into a
    file beside the database. Raises ServerError with the reason in that file where it does not start.
    """
    log = store.resolve() / "prefect" / "passing-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    process = _process(log)
    atexit.register(_end, process)
    try:
        url = f"http://{prefect_server.HOST}:{_port(process)}/api"
        stack.wait_for_prefect(url, _READY_S, lambda: process.poll() is None)
    except ServerError as error:
        raise ServerError(f"{error}; its log, {log}, says: {_reason(log)}") from None
    return url


def _process(log: Path) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    with log.open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.passing_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=inherited | {"PREFECT_HOME": str(log.parent)},
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_ENDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _port(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    told = process.stdout.readline()
    if not told:
        raise ServerError("the Prefect server ended before it listened")
    return int(told)


def _reason(log: Path) -> str:
    """The last error that a log's tracebacks end with, else its last line."""
    lines = [line for line in log.read_text(errors="replace").split("\n") if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return ["nothing", *lines, *errors][-1]


def serve() -> None:
    """Print the port, then answer until standard input ends."""
    import uvicorn

    listening = socket.create_server((prefect_server.HOST, 0))
    print(listening.getsockname()[1], flush=True)  # noqa: T201  (who started it reads it, and no more)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    config = prefect_server.config(is_passing=True)
    config.timeout_graceful_shutdown = _ASKS_S
    server = uvicorn.Server(config)
    threading.Thread(target=_stop_with_the_caller, args=(server,), daemon=True).start()
    server.run([listening])


def _stop_with_the_caller(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 1):  # not `sys.stdin.read`, whose lock an exit elsewhere would wait for
        pass
    server.should_exit = True


if __name__ == "__main__":
    serve()
