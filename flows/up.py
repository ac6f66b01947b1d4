"""`pawloop up`: the whole stack in the foreground, from an empty folder to a model that answers.

Knows the order in which things come up and what to say of it. Knows nothing about how each works.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Printer

from flows import stack
from pawloop import problem as problems
from pawloop import running
from pawloop.errors import PawloopError, ServerError
from pawloop.registry import Registry
from pawloop.settings import Settings, require_store
from tasks import place
from tasks.example import example

_READY_S = 90.0
_LET_GO_S = 10.0
_LAST = "prefect"  # of the Procfile's parts the one that ends when the others have
_LAST_WORDS_S = 6.0  # that those are given
_KILLED_AFTER_S = 12.0


def up(settings: Settings) -> int:
    """Start everything, set up what is missing, train a first model; return when it is stopped.

    Raises ServerError for a taken port, BusyError where the store has a stack already, ProblemFileError for a
    problem that cannot be read: all before anything is started.
    """
    spec = problems.load(settings.problem)
    require_free(settings)
    environment = stack.environment(settings)
    with running.noted(settings, environment[stack.MARK]):
        return _run(settings, spec.name, environment)


def require_free(settings: Settings) -> None:
    """Raise ServerError for a taken port, BusyError where the store has a stack already.

    What is left of a stack whose own process was killed, and still has its lock, is ended first.
    """
    require_store(settings.store)
    mark = running.orphaned(settings)
    if mark is not None and (running.is_held(settings) or stack.carriers(mark)):
        _say("Ending what is left of a stack that was killed …")
        stack.end_all(mark)
        _await_the_lock(settings)
    with running.noted(settings):
        stack.check_ports(settings)


def _await_the_lock(settings: Settings) -> None:
    """Honcho's own processes have the lock, too, and end a moment after what they ran."""
    deadline = time.monotonic() + _LET_GO_S
    while running.is_held(settings) and time.monotonic() < deadline:
        time.sleep(0.05)


def _run(settings: Settings, name: str, environment: dict[str, str]) -> int:
    os.environ.update(environment)
    manager = _InTurn(_Lines(sys.stdout))
    for part, command in parse_procfile((stack.TREE / "Procfile").read_text()).processes.items():
        manager.add_process(part, command, env=dict(os.environ), cwd=str(Path.cwd()))
    story = _Story(settings, name, manager)
    threading.Thread(target=story.tell, daemon=True).start()
    _stop_with_the_terminal()
    try:
        manager.loop()
    finally:
        stack.end_all(environment[stack.MARK])
    return 0 if manager.returncode in (0, 130, 143, None) and not story.has_failed else 1


class _InTurn(Manager):  # type: ignore[misc]  # honcho has no types
    """Honcho's, which stops Prefect's server last: a worker tells it of its runs until it has ended."""

    _ends = False
    _killed_at = math.inf

    def terminate(self) -> None:
        """Stop all but the last, and that once they have ended. Called in a signal's handler, too."""
        if not self._ends:
            self._ends, self._killed_at = True, time.monotonic() + _KILLED_AFTER_S
            threading.Thread(target=self._stop_in_turn, daemon=True).start()

    def kill(self) -> None:
        """Called ten times a second from some seconds after the first has ended."""
        if time.monotonic() > self._killed_at:
            self._killed_at = math.inf
            super().kill()

    def _stop_in_turn(self) -> None:
        others = [name for name in self._processes if name != _LAST]
        for name in others:
            self._stop(name)
        self._await(lambda: all("returncode" in self._processes[name] for name in others))
        if _LAST in self._processes:
            self._stop(_LAST)

    def _stop(self, name: str) -> None:
        process = self._processes[name]
        self._await(lambda: "pid" in process)  # it may just be starting
        if "pid" in process and "returncode" not in process:
            self._procmgr.terminate(process["pid"])

    def _await(self, has_come: Callable[[], bool]) -> None:
        until = time.monotonic() + _LAST_WORDS_S
        while not has_come() and time.monotonic() < until:
            time.sleep(0.05)


class _Lines(Printer):  # type: ignore[misc]  # honcho has no types
    """Honcho's, also where a signal comes in the middle of a line: its handler writes one, too."""

    def write(self, *given: Any, **named: Any) -> None:  # Any: honcho's own
        with contextlib.suppress(RuntimeError):
            super().write(*given, **named)


def _stop_with_the_terminal() -> None:
    """Take the hang-up of a closed terminal for a request to stop, unless `nohup` has it ignored."""
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


class _Story:
    """What happens beside the processes, told on standard output."""

    def __init__(self, settings: Settings, name: str, manager: Manager) -> None:
        self.settings, self.name, self.manager = settings, name, manager
        self.has_failed = False
        self.began = datetime.now(UTC)

    def tell(self) -> None:
        try:
            self._set_up()
        except PawloopError as error:
            self.has_failed = True
            _say(f"\npawloop: {error}\n")
            self.manager.terminate()

    def _set_up(self) -> None:
        stack.wait_for_prefect(stack.api_url(self.settings))
        stack.set_up(self.settings)
        stack.end_left_over(self.settings.store.resolve(), self.began)
        ui = f"http://127.0.0.1:{self.settings.prefect_port}"
        if Registry(self.settings.store, self.name).aliases().champion is None:
            run = stack.run_deployment()
            _say(
                f"\n{self.name} has no model yet: training the first one; watch it at\n"
                f"  {ui}/runs/flow-run/{run}\n"
            )
            state, message = stack.await_run(run)
            if Registry(self.settings.store, self.name).aliases().champion is None:
                _say(
                    f"\nThe first training ended without a model ({state}): {message}\n"
                    f"Correct that, then start it again with `pawloop retrain` or the Run button at {ui}.\n"
                )
                return
        _say(banner(self.settings, self.name, ui, self._served()))

    def _served(self) -> dict[str, Any]:  # Any: JSON's values
        url, deadline = f"{self.settings.own_url}/readyz", time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            try:
                answer = httpx.get(url, timeout=2.0)
            except httpx.HTTPError:
                time.sleep(0.2)
                continue
            if answer.status_code == httpx.codes.OK:
                model: dict[str, Any] = answer.json()["model"]
                return model
            time.sleep(0.2)
        raise ServerError(f"{url}: the inference server is not ready after {_READY_S:.0f} s")


def banner(settings: Settings, name: str, ui: str, model: dict[str, Any]) -> str:  # Any: JSON's values
    """What a person can do now that the server answers with `model`, as `/readyz` names it."""
    page, photo = settings.own_url, _photo(settings, name, int(model["version"]))
    # Of /docs the browser loads all by the prefix that the proxy takes off.
    docs = f"behind the proxy, at {settings.root_path}/docs" if settings.root_path else f"{page}/docs"
    lines = [
        "",
        f"Pawloop is ready: {model['name']} version {model['version']} answers.",
        "",
        f"  Prefect UI   {ui}",
        f"  Try a photo  {page}/",
        f"  API docs     {docs}",
        "",
        f"  curl -s --data-binary @{shlex.quote(photo)} {page}/predict",
        "",
        f"  Schedules    by the clock of {stack.timezone(settings)} (PAWLOOP_TIMEZONE changes that)",
        "",
        f"  The installation weighs {stack.weight_mb():,} MB. Ctrl-C stops everything.",
        "",
    ]
    return "\n".join(lines)


def _photo(settings: Settings, name: str, number: int) -> str:
    """A photo to try: one of the problem's own that no training has seen, and that this version answers.

    "PHOTO" where the store no longer has any: who serves needs none.
    """
    store, here = settings.store.resolve(), Path.cwd()
    try:
        card = Registry(settings.store, name).version(number, check=False).card
        path = place.path_of(example(store, card).location, store)
    except (PawloopError, OSError):
        return "PHOTO"
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  (results go to standard output)
