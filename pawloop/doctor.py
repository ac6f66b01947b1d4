"""What is missing, wrong or unreachable on this machine, and what to do about it.

Looks and tells; changes nothing. Knows settings, files and addresses.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from dotenv import dotenv_values
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from pawloop import durable, running
from pawloop import problem as problems
from pawloop import settings as machine
from pawloop.addresses import public, public_text
from pawloop.errors import JournalError, PawloopError, RegistryError, nearest
from pawloop.in_service import old_costs
from pawloop.journal import Journal
from pawloop.paths import expanded
from pawloop.printable import some_of
from pawloop.problem import Problem
from pawloop.registry import Registry, names
from pawloop.sections import is_path
from pawloop.settings import PREFIX, Settings

_LITTLE_DISK_GB = 2
_MARK = f"{PREFIX}STACK"  # of a stack's processes
_NEEDED = {
    "serve": ("fastapi", "uvicorn", "onnxruntime"),
    "train": ("torch", "prefect", "onnx", "sklearn", "pyarrow"),
}


@dataclass(frozen=True)
class Finding:
    """good: as it should be. told: neither good nor bad. bad: `what` says what to do."""

    kind: Literal["good", "told", "bad"]
    what: str


def examine(
    name: str | None = None, require_usable: Callable[[Settings], None] | None = None
) -> list[Finding]:
    """Everything worth knowing of this installation, in the order of a person's questions.

    name: of the problem, instead of `PAWLOOP_PROBLEM`. require_usable: raises PawloopError for settings
    that no server starts with; None where the server is not installed.
    """
    findings = [_python(), *_packages()]
    try:
        settings = machine.load()
    except PawloopError as error:
        return [*findings, Finding("bad", str(error))]
    findings += [*_sources(settings), *_store(settings), *_journal(settings)]
    try:
        if require_usable:
            require_usable(settings)
    except PawloopError as error:
        findings.append(Finding("bad", f"the server does not start: {error}"))
    found, wanted = _problem(settings, name or settings.problem)
    findings += found
    if wanted is None:
        return findings
    findings += [*_model(settings, wanted), *_costs(settings, name or settings.problem)]
    try:
        settings = running.beside(settings)
    except PawloopError as error:
        findings.append(Finding("bad", str(error)))
    return [*findings, *_servers(settings, wanted)]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("good", f"Python {version}, {machine.usable_cores()} cores for this process")


def _packages() -> Iterator[Finding]:
    for extra, modules in _NEEDED.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            yield Finding(
                "bad" if extra == "serve" else "told",
                f"{', '.join(missing)} missing: `pip install -c constraints.txt .[{extra}]` brings them",
            )
        else:
            yield Finding("good", f"packages of the extra `{extra}` are installed")


def _sources(settings: Settings) -> Iterator[Finding]:
    written = dotenv_values(".env")
    known = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
    for key, name in known.items():
        value = _shown(name, getattr(settings, name))
        source = "environment" if os.environ.get(key) else ".env" if written.get(key) else "default"
        if source != "default":
            yield Finding("told", f"{key} = {value} (from {source})")
    for key in sorted({*os.environ, *written}):
        if key.upper().startswith(PREFIX) and key.upper() not in {*known, _MARK}:
            yield Finding("bad", f"{key} is no setting, so nobody reads it{nearest(key.upper(), known)}")


def _shown(name: str, value: object) -> str:
    if name in ("admin_token", "api_key") and value:
        return "(set)"
    if name == "journal" and "://" in str(value):
        with contextlib.suppress(ArgumentError, ValueError):
            return make_url(str(value)).render_as_string(hide_password=True)
    return public_text(str(value))


def _store(settings: Settings) -> Iterator[Finding]:
    store = settings.store.resolve()
    existing = _existing(store)
    if not existing.is_dir():
        yield Finding("bad", f"{PREFIX}STORE: {existing} is a file, not a folder; name another place")
        return
    if not os.access(existing, os.W_OK):
        yield Finding(
            "bad",
            f"{PREFIX}STORE: {existing} cannot be written by this user; give the right to, or name another",
        )
        return
    free_gb = shutil.disk_usage(existing).free / 1e9
    kind: Literal["good", "bad"] = "good" if free_gb > _LITTLE_DISK_GB else "bad"
    hint = "" if kind == "good" else "; free some, or set PAWLOOP_STORE to a larger disk"
    yield Finding(kind, f"store {store}: {free_gb:.0f} GB free{hint}")


def _existing(path: Path) -> Path:
    """The path, or the nearest one above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())


def _journal(settings: Settings) -> Iterator[Finding]:
    if settings.journal_url is None:
        yield Finding("told", "the journal is off: no answer is noted, and no correction taken")
    elif settings.journal or settings.store.is_dir():
        try:
            _require_journal(settings.journal_url)
        except JournalError as error:
            yield Finding("bad", str(error))
        else:
            yield Finding("good", "the journal can be reached")


def _require_journal(url: str | Path) -> None:
    """Raise JournalError unless it can be used; a file that is not there yet is not made."""
    file = url if isinstance(url, Path) else _file(url)
    if file is None or file.exists():
        Journal(url).close()
        return
    existing = _existing(file.absolute().parent)
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise JournalError(f"the journal {file} cannot be made: this user may write no file into {existing}")


def _file(url: str) -> Path | None:
    """The file that a journal's URL names, if it does."""
    name = make_url(url).database if url.startswith("sqlite:///") else None
    return Path(name) if name else None


def _problem(settings: Settings, wanted: str) -> tuple[list[Finding], str | None]:
    """What is to say of a problem and its photos, and its name; none where nobody knows it."""
    is_known = settings.store.is_dir() and wanted in names(settings.store)
    try:
        problems.find(wanted)
    except PawloopError as error:
        if is_known:
            told = f"{wanted} has no problem file here, so its model can be served and not trained again"
            return [Finding("told", told)], wanted
        return [Finding("bad", str(error))], None
    try:
        problem = problems.load(wanted)
    except PawloopError as error:
        return [Finding("bad", str(error))], wanted if is_known else None
    good = Finding("good", f"problem {problem.name}: {some_of(problem.classes)}")
    return [good, *_namesakes(problem.name), *_photos(problem)], problem.name


def _namesakes(name: str) -> Iterator[Finding]:
    """Files that say one name: whichever is trained replaces the other's model."""
    said = []
    for path in sorted(problems.PROBLEMS.glob("*.toml")):
        with contextlib.suppress(PawloopError):  # one that cannot be read is trained by nobody
            said += [path.name] if problems.load(path).name == name else []
    if len(said) > 1:
        yield Finding("bad", f'{" and ".join(said)} in problems/ say one name, "{name}"; give each its own')


def _photos(problem: Problem) -> Iterator[Finding]:
    for source in problem.data.sources:
        if not is_path(source):
            yield Finding("told", f"photos from {public(source)}")
        elif expanded(source).exists():
            yield Finding("good", f"photos in {source}")
        else:
            yield Finding("bad", f"{source}: no such folder or file; correct [data] sources")


def _model(settings: Settings, name: str) -> Iterator[Finding]:
    if settings.store.is_file():
        return
    registry = Registry(settings.store, name)
    try:
        champion = registry.champion()
    except PawloopError as error:
        yield Finding("bad", str(error))
        return
    training = durable.holder(running.run_lock(settings.store.resolve(), name))
    if champion is None and training:
        yield Finding("told", f"{name} has no model yet; its training is under way: {training}")
        return
    if champion is None:
        yield Finding("told", f"{name} has no model yet; `pawloop retrain` makes the first")
        return
    accuracy = champion.card.metrics["float32"]["accuracy"]
    yield Finding("good", f"champion: version {champion.number}, accuracy {accuracy:.4f}, files whole")


def _costs(settings: Settings, wanted: str) -> Iterator[Finding]:
    """Whether the champion decides as the problem file says; what cannot be read was told of before."""
    try:
        problem = problems.load(wanted)
        champion = Registry(settings.store, problem.name).champion(check=False)
    except PawloopError:
        return
    if champion and set(champion.card.classes) != set(problem.classes):
        known, wished = some_of(champion.card.classes), some_of(problem.classes)
        yield Finding("told", f"version {champion.number} knows {known}, the problem file has {wished}")
    told = champion and old_costs(champion.card, problem)
    if told:
        yield Finding("told", f"{told}; what the next retrain promotes goes by the file")


def _servers(settings: Settings, wanted: str | None) -> Iterator[Finding]:
    of_stack = "though `pawloop up` runs; if it is not just starting, what it prints says why"
    why = of_stack if running.is_held(settings) else None
    prefect, _ = _asked("Prefect server", f"http://127.0.0.1:{settings.prefect_port}/api/health", why)
    if settings.server_url:
        why = "though PAWLOOP_SERVER_URL names it; start it or correct that, or no promotion is confirmed"
    serving, answer = _asked("inference server", f"{settings.server_url or settings.own_url}/readyz", why)
    yield from (prefect, serving)
    if answer is not None:
        yield from _served(settings, wanted, answer)


def _asked(name: str, address: str, why: str | None) -> tuple[Finding, httpx.Response | None]:
    """Whether a server is well, and its answer, if it is. why: it should answer; None where it need not."""
    url = public(address)
    try:
        answer = httpx.get(address, timeout=2.0)
    except httpx.InvalidURL as error:
        return Finding("bad", f"{name}: {url} is no address ({error}); correct PAWLOOP_HOST"), None
    except httpx.HTTPError:
        if why:
            return Finding("bad", f"{name} does not answer at {url}, {why}"), None
        return Finding("told", f"{name} does not answer at {url}; `make up` starts it"), None
    if answer.status_code == httpx.codes.OK:
        return Finding("good", f"{name} answers at {url}"), answer
    return Finding("bad", f"{name} at {url}: {answer.status_code} {answer.text[:200]}"), None


def _served(settings: Settings, wanted: str | None, answer: httpx.Response) -> Iterator[Finding]:
    """Whether the server has the champion of the problem in service, by what it says of itself."""
    try:
        told = answer.json()
        problem, number = told["problem"], told["model"]["version"]
        refused = {one["version"]: one["reason"] for one in told["refused"]}
    except (ValueError, KeyError, TypeError):
        yield Finding("bad", "what answers there is no inference server of Pawloop; correct PAWLOOP_PORT")
        return
    if wanted is not None and problem != wanted:
        yield Finding(
            "told", f"it serves {problem}, not {wanted}; `pawloop serve` with another port serves that"
        )
        return
    try:
        champion = Registry(settings.store, problem).aliases().champion
    except RegistryError:  # told of before
        return
    if champion not in (None, number):
        why = refused.get(champion, "it has another store, or did not follow yet")
        yield Finding("bad", f"it serves version {number}, not {champion}, the champion: {why}")
