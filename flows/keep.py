"""`python -m flows.keep COMMAND…`: runs a command, and runs it again when it is killed or crashes.

So that a worker that the machine killed for memory takes neither the server nor the night with it. Knows one
child process and two signals. Knows nothing about what the command does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

_SETTLED_S = 10.0  # what ends sooner is set up wrongly, and would end again
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


def keep(command: Sequence[str], settled_s: float = _SETTLED_S, pause_s: float = _PAUSE_S) -> int:
    """Run `command` until it ends well, ends before it has ever settled, or this process is told to stop.

    settled_s: seconds after which an end is an accident. pause_s: until it is started again; twice as long
    each time that it ends sooner. Returns the last exit status, 128 + N where signal N was the end.
    """
    running: list[int] = []
    has_settled, pause = False, pause_s
    stop = threading.Event()

    def pass_on(number: int, _: object) -> None:
        stop.set()
        for pid in running:
            os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    while True:
        started = time.monotonic()
        # A session of its own: a signal to this process's group would reach the command twice.
        with subprocess.Popen(command, start_new_session=True) as child:
            running.append(child.pid)
            if stop.is_set():  # told to in the moment of its start
                child.terminate()
            status = child.wait()
            running.clear()
        status = status if status >= 0 else 128 - status
        ran_s = time.monotonic() - started
        is_settled = ran_s >= settled_s
        pause = pause_s if is_settled else min(2 * pause, _LONGEST_PAUSE_S)
        has_settled |= is_settled
        if stop.is_set() or status == 0 or not has_settled:
            return status
        print(f"ended with status {status} after {ran_s:.0f} s: it is started again", flush=True)  # noqa: T201
        if stop.wait(pause):
            return status


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
