"""The registry of model versions: files that one can read with `ls` and `cat`.

`<store>/models/<name>/<version>/` with `card.json` written last; `aliases.json` beside the versions is
the only truth about who is champion. The layout is NVIDIA Triton's model repository. Knows files and
cards; knows nothing about how models are made, judged or served.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pawloop import durable
from pawloop import problem as problems
from pawloop.aliases import Aliases, Move, Mover
from pawloop.card import Card, Verdict
from pawloop.errors import DamagedVersionError, ProblemFileError, RegistryError

_HISTORY_KEPT = 1000
_UNFINISHED = ".publishing"  # lies in a version's folder until its files are there
_REMOVED = ".removed"
_ABANDONED_S = 3600.0  # publishing takes seconds


@dataclass(frozen=True)
class Version:
    """A version that exists: its folder and its card."""

    folder: Path
    card: Card

    @property
    def number(self) -> int:
        """Its number in the registry."""
        return self.card.version

    @property
    def rejection(self) -> str | None:
        """Why it was taken out of service, or None."""
        return self._reason("rejected.json")

    @property
    def overruled(self) -> str | None:
        """Why a person promoted it despite what was found, or None."""
        return self._reason("overruled.json")

    @property
    def shadow(self) -> Verdict | None:
        """What was found when it answered live photos beside the champion, if it ever did."""
        path = self.folder / "shadow.json"
        try:
            return Verdict.model_validate_json(path.read_bytes()) if path.exists() else None
        except (OSError, ValidationError) as error:
            raise DamagedVersionError(f"{path}: cannot be read ({error}); remove or restore it") from None

    def _reason(self, name: str) -> str | None:
        path = self.folder / name
        try:
            return str(json.loads(path.read_text())["reason"]) if path.exists() else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedVersionError(
                f'{path}: cannot be read ({error}); write the reason as {{"reason": "…"}}, or restore it'
            ) from None


class Registry:
    """The versions and aliases of one model name."""

    def __init__(self, store: Path, name: str) -> None:
        self.name = name
        self.folder = store / "models" / name

    def aliases(self) -> Aliases:
        """The aliases as they are now. Raises RegistryError when the file cannot be understood."""
        path = self.folder / "aliases.json"
        try:
            return Aliases.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Aliases()
        except OSError as error:  # of the machine, not of the file, which may be whole
            raise RegistryError(f"{path}: cannot be read: {error.strerror}") from None
        except ValidationError as error:
            raise RegistryError(
                f"{path}: cannot be read ({error}); restore it from a copy, or name the champion "
                f"again with `pawloop models promote` after removing it"
            ) from None

    def numbers(self) -> list[int]:
        """Numbers of the versions that exist, ascending. Raises RegistryError for an unreadable folder."""
        try:
            return sorted(
                int(path.name)
                for path in self.folder.iterdir()
                if path.name.isdecimal() and (path / "card.json").exists()
            )
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RegistryError(f"{self.folder}: cannot be read: {error.strerror}") from None

    def version(self, number: int, *, check: bool = True) -> Version:
        """One version, its files checked against its card's hashes unless `check` is False.

        Raises RegistryError when there is none, DamagedVersionError when its files are not whole.
        """
        folder = self.folder / str(number)
        if not (folder / "card.json").exists():
            known = ", ".join(map(str, self.numbers())) or "none"
            raise RegistryError(f"{self.name} has no version {number} (known: {known})")
        card = read_card(folder)
        if (card.name, card.version) != (self.name, number):
            raise DamagedVersionError(
                f"{folder}: its card is that of {card.name} version {card.version}; "
                "put each version's folder back where it belongs"
            )
        if check:
            verify(folder, card)
        return Version(folder, card)

    def readable(self) -> dict[int, Version]:
        """The versions whose cards can be read, by number, ascending; their files unchecked."""
        return {version.number: version for version in self.each_readable()}

    def each_readable(self) -> Iterator[Version]:
        """The same one by one, so that not all of their cards are held at once."""
        for number in self.numbers():
            with contextlib.suppress(DamagedVersionError):
                yield self.version(number, check=False)

    def champion(self, *, check: bool = True) -> Version | None:
        """The version in service, or None. Raises as `version` does."""
        number = self.aliases().champion
        return None if number is None else self.version(number, check=check)

    def readable_champion(self) -> Version | None:
        """The version in service; None where there is none, or its card cannot be read. Files unchecked."""
        number = self.aliases().champion
        with contextlib.suppress(RegistryError):
            return None if number is None else self.version(number, check=False)
        return None

    def publish(self, candidate: Path, card: Card, stamp: Callable[[Path, Card], None]) -> Version:
        """Give a candidate's files a version number of their own; nobody serves it yet.

        candidate: folder whose files are copied. stamp: writes what names the version (its card in
        words) into the new folder, given the numbered card. `card.json`, with the hashes of all
        files, comes last. What cannot be published whole leaves no folder.
        """
        folder = self._claim()
        try:
            return self._filled(folder, candidate, card, stamp)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _filled(
        self, folder: Path, candidate: Path, card: Card, stamp: Callable[[Path, Card], None]
    ) -> Version:
        numbered = card.model_copy(update={"version": int(folder.name)})
        for source in sorted(candidate.iterdir()):
            is_draft = source.name.startswith(".")  # left by a process that was killed
            if source.is_file() and source.name != "card.json" and not is_draft:
                _copy(source, folder / source.name)
        stamp(folder, numbered)
        files = [path for path in sorted(folder.iterdir()) if path.name != _UNFINISHED]
        hashes = {path.name: durable.sha256(path) for path in files}
        for name in hashes:
            durable.sync(folder / name)
        whole = numbered.model_copy(update={"files": hashes})
        durable.write_bytes(folder / "card.json", whole.model_dump_json(indent=2).encode())
        (folder / _UNFINISHED).unlink()
        return Version(folder, whole)

    def promote(
        self,
        number: int,
        reason: str,
        *,
        expected: int | None,
        anchor: int | None = None,
        by: Mover = "run",
    ) -> Aliases:
        """Make a version champion, if the champion is still the `expected` one (compare-and-swap).

        anchor: the best version so far; None leaves it as it is. by: who decides it.
        Raises RegistryError when the version is missing or damaged, or the champion has moved.
        """
        self.version(number)
        extra = {} if anchor is None else {"anchor": anchor}
        return self._move(number, reason, expected, extra, by)

    def restore(self, number: int | None, reason: str, *, expected: int) -> Aliases:
        """Put an earlier champion (None: nobody) back in the place of `expected`."""
        aliases, known = self.aliases(), {None, *self.numbers()} - {expected}
        held = [m.anchor for m in aliases.history if m.champion == expected and m.anchor in known]
        # Moves of older files do not tell their anchor.
        gone = {"anchor": (held[-1] if held else None) or number} if aliases.anchor == expected else {}
        older = [m.before for m in aliases.history if m.champion == number and m.before in known]
        return self._move(number, reason, expected, {"previous": older[-1] if older else None, **gone})

    def rollback(self, reason: str) -> Aliases:
        """Champion and previous change places. Raises RegistryError when there is no previous."""
        aliases = self.aliases()
        if aliases.previous is None or aliases.champion is None:
            raise RegistryError(f"{self.name} has no previous version to go back to")
        return self.promote(aliases.previous, reason, expected=aliases.champion, by="person")

    def nominate(self, number: int | None) -> Aliases:
        """Make a version the challenger, which a server runs in the champion's shadow; None ends that.

        Raises RegistryError when the version is missing or damaged.
        """
        if number is not None:
            self.version(number)
        self.folder.mkdir(parents=True, exist_ok=True)
        with durable.lock(self.folder / ".aliases.lock", "naming a challenger", wait=True):
            old = self.aliases()
            new = old.model_copy(update={"challenger": number, "serial": old.serial + 1})
            durable.write_bytes(self.folder / "aliases.json", new.model_dump_json(indent=2).encode())
        return new

    def reject(self, number: int, reason: str) -> None:
        """Mark a version as not fit for service; its own files stay as they are."""
        durable.write_json(self.folder / str(number) / "rejected.json", {"at": _now(), "reason": reason})

    def note_overruled(self, number: int, reason: str) -> None:
        """Put a person's reason beside a version's card, and take back its rejection."""
        folder = self.folder / str(number)
        durable.write_json(folder / "overruled.json", {"at": _now(), "reason": reason})
        (folder / "rejected.json").unlink(missing_ok=True)

    def note_shadow(self, number: int, verdict: Verdict) -> None:
        """Put the verdict on live photos beside a version's card, which was written before it."""
        path = self.folder / str(number) / "shadow.json"
        durable.write_bytes(path, verdict.model_dump_json(indent=2).encode())

    def remove(self, number: int) -> None:
        """Delete a version. Raises RegistryError for one that plays a part."""
        with durable.lock(self.folder / ".aliases.lock", "", wait=True):
            if number in self.aliases().parts:
                raise RegistryError(f"{self.name} version {number} plays a part, so it stays")
            gone = self.folder / f".{number}{_REMOVED}"
            (self.folder / str(number)).rename(gone)  # so that nobody meets a part of it
            shutil.rmtree(gone)

    def repair(self) -> None:
        """Write `config.pbtxt`, which is derived from the aliases, where it differs from them."""
        if not self.folder.is_dir():
            return
        path, text = self.folder / "config.pbtxt", self._triton_config(self.aliases())
        if not path.exists() or path.read_text() != text:
            durable.write_bytes(path, text.encode())

    def _claim(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        # Whoever remembers a version that was deleted would take one of its number for it.
        last = self.aliases().highest
        while True:
            taken = [int(p.name) for p in self.folder.iterdir() if p.name.isdecimal()]
            folder = self.folder / str(max([last, *taken]) + 1)
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            (folder / _UNFINISHED).touch()
            return folder

    def _sweep(self) -> None:
        """Remove what processes left that were killed while they published, or removed."""
        for gone in self.folder.glob(f".*{_REMOVED}"):
            shutil.rmtree(gone, ignore_errors=True)
        for mark in self.folder.glob(f"*/{_UNFINISHED}"):
            with contextlib.suppress(OSError):
                if time.time() - mark.stat().st_mtime < _ABANDONED_S:
                    continue
                mark.unlink() if (mark.parent / "card.json").exists() else shutil.rmtree(mark.parent)

    def _move(
        self,
        number: int | None,
        reason: str,
        expected: int | None,
        extra: Mapping[str, int | None],
        by: Mover = "run",
    ) -> Aliases:
        with durable.lock(self.folder / ".aliases.lock", "moving an alias", wait=True):
            old = self.aliases()
            if old.champion != expected:
                raise RegistryError(
                    f"{self.name}: the champion is now version {old.champion}, not {expected} as "
                    "expected; somebody else moved it, look at `pawloop models list` and try again"
                )
            moved = Move(
                at=_now(), champion=number, before=old.champion, reason=reason, anchor=old.anchor, by=by
            )
            update: dict[str, Any] = {  # Any: an alias, a count or a list
                "champion": number,
                "previous": old.previous if number == old.champion else old.champion,
                "serial": old.serial + 1,
                "history": [*old.history, moved][-_HISTORY_KEPT:],
                **extra,
            }
            new = old.model_copy(update=update)
            content = new.model_dump_json(indent=2).encode()
            durable.write_bytes(self.folder / "aliases.json", content)
        self.repair()
        return new

    def _triton_config(self, aliases: Aliases) -> str:
        lines = [f'name: "{self.name}"', 'platform: "onnxruntime_onnx"', "max_batch_size: 0"]
        if aliases.champion is not None:
            lines.append(f"version_policy: {{ specific {{ versions: [ {aliases.champion} ] }} }}")
        return "\n".join(lines) + "\n"


def names(store: Path) -> list[str]:
    """Names of all models in a store."""
    root = store / "models"
    return sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


def name_of(store: Path, problem: str) -> str:
    """The model's name that a problem's name or file means, as its file says; one in the store needs none.

    Raises ProblemFileError where there is neither.
    """
    known = names(store)
    try:
        return problems.name_of(problem, known)
    except ProblemFileError as error:
        held = f"\nThe store {store} holds models of: {', '.join(known)}" if known else ""
        raise ProblemFileError(f"{error}{held}") from None


def read_card(folder: Path) -> Card:
    """The card in a folder. Raises DamagedVersionError when it cannot be understood."""
    path = folder / "card.json"
    try:
        return Card.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DamagedVersionError(f"{path}: not a model card: {error}") from None


def verify(folder: Path, card: Card) -> None:
    """Raise DamagedVersionError unless every file that the card names has the hash that it states."""
    for name, expected in card.files.items():
        path = folder / name
        if not path.exists():
            raise DamagedVersionError(f"{path}: missing; roll back, or restore it from a copy")
        if durable.sha256(path) != expected:
            raise DamagedVersionError(
                f"{path}: its bytes are not those that card.json describes (damaged or edited); "
                "roll back with `pawloop models rollback`, or restore it from a copy"
            )


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # the library names what it read from
            error.filename = str(target)
        raise


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
