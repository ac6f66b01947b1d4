"""The thread that follows the registry's aliases and brings the champion into service.

Sees that an alias moved, loads the new model beside the old, and swaps one reference. A model that is not
fit to serve is refused and remembered, and the old one stays. Knows the registry and the engine; knows
nothing about HTTP.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from pawloop import durable
from pawloop.aliases import Aliases
from pawloop.errors import PawloopError
from pawloop.registry import Registry
from pawloop.settings import Settings
from serve import memory
from serve.engine import NO_MODEL, Engine
from serve.loading import HeadStart, Serving, load
from serve.shadow import Shadow

log = logging.getLogger(__name__)

_Files = frozenset[tuple[str, int, int]]

LOOK_EVERY_S: Final = 0.3
_GIVE_BACK_EVERY_S: Final = 10.0
_TRY_AGAIN_S: Final = 10.0
_REFUSALS_KEPT: Final = 20
_WITHDRAWN: Final = "the champion was withdrawn; run a retrain, or promote a version (`pawloop models list`)"


@dataclass(frozen=True)
class Refusal:
    """A version that was not taken into service.

    at: when, in UTC. may_pass: whether it is a fault of the moment, so that it is tried again.
    """

    version: int
    reason: str
    at: str
    may_pass: bool

    def as_dict(self) -> dict[str, object]:
        """The refusal as `/readyz` tells it."""
        return asdict(self)


class Watcher:
    """Keeps the engine's model the registry's champion, and the shadow's the challenger."""

    def __init__(
        self,
        registry: Registry,
        engine: Engine,
        shadow: Shadow,
        settings: Settings,
        on_change: Callable[[Serving | None], None] = lambda _: None,
        on_refusal: Callable[[Refusal], None] = lambda _: None,
        head_start: HeadStart | None = None,
    ) -> None:
        """on_change: told of each model that comes into service, or None. on_refusal: of each refusal.
        head_start: a champion that is being loaded already.
        """
        self.registry = registry
        self.engine = engine
        self.shadow = shadow
        self.settings = settings
        self.refused: list[Refusal] = []
        self.is_behind = False
        self._on_change = on_change
        self._on_refusal = on_refusal
        self._head_start = head_start
        self._seen: tuple[int, int] | None = None
        # Of the champion and the challenger at work, as they were loaded.
        self._card: tuple[int, int] | None = None
        self._shadow_card: tuple[int, int] | None = None
        self._faulty: dict[int, _Files] = {}
        self._files = self._faulty
        self._again_at = math.inf
        self._looking = threading.Lock()
        self._has_swapped = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        """Bring the champion into service, then watch for the next one."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():  # it began, unless the start failed
            self._thread.join(LOOK_EVERY_S + 5)

    def look(self) -> None:
        """Compare what is in service with the registry, now, and put right what differs."""
        with self._looking:
            self._seen, self._again_at = self._stamp(), math.inf
            self._faulty = {}
            self.refused = [one for one in self.refused if self._card_stamp(one.version)]
            try:
                aliases = self.registry.aliases()
            except PawloopError as error:
                log.error("%s", error)  # what is in service stays
                self._tell_unreadable(error)
                self._try_again()
                self.is_behind = True
                return
            self._follow(aliases)
            self._follow_challenger(aliases)
            self.is_behind = aliases.champion in self._faulty

    def _watch(self) -> None:
        given_back = time.monotonic()
        while not self._stop.wait(LOOK_EVERY_S):
            # After a swap, since by now the jobs of the model before have ended.
            if self._has_swapped or time.monotonic() - given_back > _GIVE_BACK_EVERY_S:
                self._has_swapped = False
                memory.give_back()
                given_back = time.monotonic()
            try:
                is_due = time.monotonic() > self._again_at
                if self._stamp() != self._seen or is_due or self._is_mended():
                    self.look()
            # the watcher must survive a full disk or a vanished folder; the model in service stays
            except Exception:
                log.exception("could not follow %s", self.registry.folder)
                self._try_again()

    def _tell_unreadable(self, error: PawloopError) -> None:
        if not self.engine.has_model:
            self.engine.lack = self._public(str(error))

    def _try_again(self) -> None:
        self._again_at = time.monotonic() + _TRY_AGAIN_S

    def _stamp(self) -> tuple[int, int] | None:
        return durable.stamp(self.registry.folder / "aliases.json")

    def _card_stamp(self, number: int) -> tuple[int, int] | None:
        return durable.stamp(self.registry.folder / str(number) / "card.json")

    def _is_mended(self) -> bool:
        """Whether somebody changed the files of a refused version, and has come to an end with it."""
        before, self._files = self._files, {number: self._stamps(number) for number in self._faulty}
        return self._files != self._faulty and self._files == before

    def _stamps(self, number: int) -> _Files:
        """What changes with a version's files; empty where it has no folder."""
        folder = self.registry.folder / str(number)
        try:
            found = [(file, file.stat()) for file in folder.iterdir()]
        except OSError:
            return frozenset()
        return frozenset((file.name, status.st_mtime_ns, status.st_size) for file, status in found)

    def _follow(self, aliases: Aliases) -> None:
        current = self.engine.serving.number if self.engine.has_model else None
        if aliases.champion is None and aliases.serial:  # withdrawn by somebody, not a file that vanished
            if current is not None:
                self._swap(None)
            self.engine.lack = _WITHDRAWN
        elif aliases.champion is None and current is None:
            self.engine.lack = NO_MODEL  # the file that could not be read is gone, and what was said of it
        if aliases.champion is None or (
            aliases.champion == current and not self._is_another(aliases.champion, self._card)
        ):
            return
        if self._taken(aliases.champion) or current is not None:
            return
        if aliases.previous is not None and self._taken(aliases.previous):
            log.warning("version %d serves in its place, as the previous champion", aliases.previous)
            return
        why = next(one.reason for one in self.refused if one.version == aliases.champion)
        self.engine.lack = (
            f"version {aliases.champion}, the champion, was refused: {why}. Run a retrain, "
            "or promote another version (`pawloop models list`)"
        )

    def _is_another(self, number: int, card: tuple[int, int] | None) -> bool:
        """Whether another version has the number of one at work, as in a store that began anew."""
        return self._card_stamp(number) not in (None, card)

    def _follow_challenger(self, aliases: Aliases) -> None:
        wanted = aliases.challenger if aliases.challenger != aliases.champion else None
        if wanted == self.shadow.number and (
            wanted is None or not self._is_another(wanted, self._shadow_card)
        ):
            return
        self._shadow_card = None if wanted is None else self._card_stamp(wanted)
        serving = None if wanted is None else self._loaded(wanted)
        self.shadow.cast(serving)
        if serving is not None:
            log.info("%s version %d answers in the champion's shadow", *serving.model.values())

    def _taken(self, number: int) -> bool:
        """Whether the version could be brought into service."""
        card = self._card_stamp(number)
        serving = self._loaded(number)
        if serving is None:
            return False
        self._card = card
        self._swap(serving)
        return True

    def _loaded(self, number: int) -> Serving | None:
        files = self._stamps(number)
        try:
            serving = self._early(number) or load(self.registry.version(number, check=False), self.settings)
        # whatever a damaged file makes a library raise: it is refused, and the server lives on
        except Exception as error:
            self._refuse(number, error)
            self._faulty[number] = files
            if _may_pass(error):
                self._try_again()
            return None
        self.refused = [refusal for refusal in self.refused if refusal.version != number]
        return serving

    def _early(self, number: int) -> Serving | None:
        head_start, self._head_start = self._head_start, None
        serving = head_start.take() if head_start else None
        return serving if serving and serving.number == number else None

    def _swap(self, serving: Serving | None) -> None:
        self.engine.serve(serving)
        self._has_swapped = True
        if serving is None:
            log.warning("%s: the champion was withdrawn, no model is in service", self.registry.name)
        else:
            log.info("%s version %d (%s) is in service", *serving.model.values(), serving.precision)
        self._on_change(serving)

    def _refuse(self, number: int, error: Exception) -> None:
        reason = str(error) if isinstance(error, PawloopError) else f"{type(error).__name__}: {error}"
        at = datetime.now(UTC).isoformat(timespec="seconds")
        refusal = Refusal(number, self._public(reason), at, _may_pass(error))
        others = [old for old in self.refused if old.version != number]
        self.refused = [*others, refusal][-_REFUSALS_KEPT:]
        log.error("version %d is refused: %s", number, reason, exc_info=not isinstance(error, PawloopError))
        self._on_refusal(refusal)

    def _public(self, reason: str) -> str:
        """A reason as strangers may read it: paths count from the store, and the log alone has them whole."""
        return reason.replace(f"{self.registry.folder.parents[1]}/", "")


def _may_pass(error: Exception) -> bool:
    """Whether it is a fault of the moment, as a full table of open files is, and no damaged version's."""
    known = (error, error.__cause__, error.__context__)
    passing = [one for one in known if isinstance(one, OSError | MemoryError)]
    return bool(passing) and not any(isinstance(one, FileNotFoundError) for one in passing)
