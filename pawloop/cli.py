"""The command line. Each command imports what it needs when it is called, so that `--help` is quick.

Knows words, exit statuses and where results go: results to standard output, talk to standard error.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pawloop import directly, running
from pawloop import problem as problems
from pawloop import settings as machine
from pawloop.addresses import public
from pawloop.cli_data import data
from pawloop.cli_experiments import experiments
from pawloop.cli_models import models
from pawloop.errors import (
    PawloopError,
    ProblemFileError,
    SettingsError,
    SourceError,
    UnreachableSourceError,
)
from pawloop.paths import expanded
from pawloop.registry import Registry, name_of
from pawloop.sections import LARGEST_SEED
from pawloop.terminal import Json, ProblemName, bar, line, out, print_json, table, talk

if TYPE_CHECKING:
    from tasks.prune import Old

app = typer.Typer(
    name="pawloop",
    help="Keeps an image classifier good in production: retrains, proves, promotes and serves it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(models, name="models", no_args_is_help=True)
app.add_typer(data, name="data", no_args_is_help=True)
app.add_typer(experiments, name="experiments", no_args_is_help=True)

_ASKED_WRONGLY = (ProblemFileError, SettingsError, SourceError)
_MAY_PASS = UnreachableSourceError


def main() -> None:
    """Run the command line: exit status 0, 1 (it failed), 2 (it was asked wrongly) or 130 (Ctrl-C)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need be no text at all
            stream.reconfigure(errors="backslashreplace")
    directly.bypass_proxy()
    try:
        app()
    except PawloopError as error:
        _complain(str(error))
        sys.exit(2 if isinstance(error, _ASKED_WRONGLY) and not isinstance(error, _MAY_PASS) else 1)
    except ModuleNotFoundError as error:
        _complain(
            f"this needs {error.name}, which is not installed; training and the stack need: "
            'pip install -c constraints.txt -e ".[train]"'
        )
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror or error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(text: str) -> None:
    talk.print(f"pawloop: {text}", style="red", markup=False, soft_wrap=True)


@app.command()
def up(
    photos: Annotated[str, typer.Option(help="Your photos, a folder or zip with a folder per class.")] = "",
    name: Annotated[str, typer.Option(help="Of their problem; else the folder's.")] = "",
) -> None:
    """Start everything in the foreground: Prefect, its worker, the inference server, a first model.

    Example: `pawloop up --photos ~/photos`
    """
    from flows.up import require_free
    from flows.up import up as start

    if name and not photos:
        raise typer.BadParameter("--name goes with --photos")
    if photos:
        require_free(machine.load())  # or a refused start would leave another problem behind
        _take(photos, name)
    sys.exit(start(machine.load()))


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Name of the new problem, such as tools.")],
    photos: Annotated[str, typer.Option(help="A folder or zip with a folder per class, or another source.")],
) -> None:
    """Write a commented problem file for your photos.

    Example: `pawloop init tools --photos ~/photos/tools`
    """
    from tasks.formulate import formulate

    line(str(formulate(name, photos, machine.load().store.resolve())))


@app.command()
def retrain(
    problem: ProblemName = None,
    source: Annotated[str | None, typer.Option(help="Photos instead of the problem's own.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Network instead of the problem's.")] = None,
    seed: Annotated[
        int, typer.Option(help="Of fine-tuning; a head alone is the same by any.", min=0, max=LARGEST_SEED)
    ] = 0,
    force: Annotated[
        bool, typer.Option(help="Judge again when nothing is new; another --seed trains again.")
    ] = False,
) -> None:
    """Retrain now, in this process; the run shows in the Prefect UI when its server is up.

    Example: `pawloop retrain --problem cat-vs-dog --seed 1`
    """
    settings = machine.load()
    problems.load(problem or settings.problem).varied(source, backbone)
    with _beside_prefect(settings):
        from flows.retrain import retrain as flow

        _told(flow(problem, source, backbone, seed, force, return_state=True))


@app.command()
def tune(
    problem: ProblemName = None,
    seed: Annotated[int, typer.Option(help="Of search and trainings.", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Search for better candidates now; the next retrains try what it finds.

    What it searches, and for how long, stands in the problem file's [tune]. A search that was killed goes
    on where it stopped; one that is done goes on with more [tune] trials, and another --seed begins anew.

    Example: `pawloop tune --problem cat-vs-dog`
    """
    settings = machine.load()
    problems.load(problem or settings.problem)
    with _beside_prefect(settings):
        from flows.tune import tune as flow

        _told(flow(problem, seed, return_state=True))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind; else PAWLOOP_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; else PAWLOOP_PORT.", min=0, max=65535)] = None,
    problem: ProblemName = None,
    uds: Annotated[Path | None, typer.Option(help="A Unix socket instead of host and port.")] = None,
    root_path: Annotated[
        str | None, typer.Option(help="Prefix that a proxy in front takes off; else PAWLOOP_ROOT_PATH.")
    ] = None,
    forwarded_allow_ips: Annotated[
        str | None,
        typer.Option(
            help="Proxies whose word about the client is taken, else PAWLOOP_FORWARDED_ALLOW_IPS: this "
            "machine's."
        ),
    ] = None,
) -> None:
    """Serve the champion over HTTP until Ctrl-C.

    Example: `pawloop serve --port 8000`
    """
    from serve.run import run

    chosen = machine.load(
        host=host, port=port, problem=problem, root_path=root_path, forwarded_allow_ips=forwarded_allow_ips
    )
    run(chosen, uds=uds)


@app.command()
def predict(
    photos: Annotated[list[Path], typer.Argument(help="Image files.")],
    url: Annotated[str, typer.Option(help="A running server; else the champion, in this process.")] = "",
    api_key: Annotated[str | None, typer.Option(help="Key of that server; else PAWLOOP_API_KEY.")] = None,
    problem: ProblemName = None,
    as_json: Json = False,
) -> None:
    """Say what is on photos, with the champion.

    Example: `pawloop predict kitten.jpg --json`
    """
    from pawloop.answers import answer_all

    settings = machine.load(api_key=api_key)
    name = name_of(settings.store, problem or settings.problem)
    failed = 0
    with bar("photos", beside_results=True) as counted:
        for done, (path, answer) in enumerate(answer_all(photos, settings, name, url), 1):
            counted(done, len(photos))
            failed += "error" in answer
            _say_answer(path, answer, as_json)
    if failed:
        sys.exit(1)


@app.command()
def prune(
    days: Annotated[int, typer.Option(help="What is younger stays.", min=1)] = 90,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Delete old versions that play no part, networks of old runs, and what can be made again.

    Champion, previous, challenger and anchor stay, and a version that somebody rolled back from; so do
    dataset versions, cards, verdicts, photos and the journal. Without a terminal and --yes it only lists.

    Example: `pawloop prune --days 30`
    """
    from tasks import prune as pruning

    store = machine.load().store.resolve()
    before = datetime.now(UTC) - timedelta(days=days)
    found = pruning.old(store, before)
    _list_old(found, as_json)
    may_ask = sys.stdin.isatty() and not as_json
    if found and (yes or (may_ask and typer.confirm("Delete all of it?", err=True))):
        pruning.remove(store, found, before)
        talk.print("Deleted.")


@app.command()
def doctor(problem: ProblemName = None, as_json: Json = False) -> None:
    """Say what is missing, wrong or unreachable, and what to do about it.

    Example: `pawloop doctor`
    """
    from pawloop.doctor import examine

    try:
        from serve.run import require_usable
    except ImportError:  # examine tells which packages lack
        findings = examine(problem)
    else:
        findings = examine(problem, require_usable)
    if as_json:
        print_json([vars(finding) for finding in findings])
    for finding in [] if as_json else findings:
        mark, style = {"good": ("✔", "green"), "told": ("·", "dim"), "bad": ("✘", "red")}[finding.kind]
        out.print(f"{mark} {finding.what}", style=style, markup=False, soft_wrap=True)
    if any(finding.kind == "bad" for finding in findings):
        sys.exit(1)


@contextlib.contextmanager
def _beside_prefect(settings: machine.Settings) -> Iterator[None]:
    """Let a flow run in this process, seen by the Prefect server, or by a passing one where none is up."""
    machine.require_store(settings.store)
    from flows import passing_server, stack

    found = running.beside(settings)
    usual = os.environ.get("PREFECT_API_URL") or stack.api_url(found)
    is_up = stack.prefect_answers(usual)
    os.environ |= {k: v for k, v in stack.environment(found).items() if k not in ("PATH", stack.MARK)}
    if found is settings:  # who answers at the usual address then follows another store
        os.environ["PAWLOOP_SERVER_URL"] = settings.server_url
    if is_up:
        os.environ["PREFECT_API_URL"] = usual
    else:
        os.environ["PREFECT_API_URL"] = passing_server.start(found.store)
        os.environ["PREFECT_UI_URL"] = ""  # it has none
    with _interrupts_as_such():
        yield


@contextlib.contextmanager
def _interrupts_as_such() -> Iterator[None]:
    """Let Ctrl-C end the command as such, whatever Prefect makes of it between two of its steps."""
    came: list[int] = []

    def interrupted(number: int, _: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    _leave_known_errors_to_main(came)
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    # whatever Prefect's half-done step raised in the interrupt's place
    except Exception:
        if came:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _leave_known_errors_to_main(interrupts: Sequence[int]) -> None:
    """Print nothing of errors that `main` explains, or that an interrupt led to; Prefect's UI has them."""
    import prefect.main  # noqa: F401  (sets up Prefect's logging)

    def is_news(record: logging.LogRecord) -> bool:
        if record.exc_info and (interrupts or isinstance(record.exc_info[1], PawloopError | OSError)):
            return False
        return not str(record.msg).startswith("Finished in state Failed")

    for handler in logging.getLogger().handlers:
        handler.addFilter(is_news)


def _told(state: Any) -> None:  # Any: a Prefect state, which is imported late
    if state.is_failed() or state.is_crashed():
        state.result()  # raises what went wrong
    line(f"{state.name}: {state.message}")


def _say_answer(path: Path, answer: dict[str, Any], as_json: bool) -> None:  # Any: JSON's values
    if as_json:
        print_json({"photo": str(path), **answer}, indent=None)  # a line each, since there may be thousands
    elif "error" in answer:
        talk.print(f"{path}: {answer['error']}", style="red", markup=False, soft_wrap=True)
    else:
        doubt = f"  (ask a person: {answer['reason']})" if answer["abstained"] else ""
        line(f"{path}: {answer['label']} {answer['probability']:.1%}{doubt}")


def _list_old(found: Sequence[Old], as_json: bool) -> None:
    if as_json:
        print_json([{"kind": one.kind, "name": one.name, "bytes": one.size} for one in found])
        return
    rows = [[one.kind, one.name, f"{one.size / 1e6:,.1f}"] for one in found]
    table(["what", "name", "MB"], rows, "Not needed any more")
    total = sum(one.size for one in found) / 1e6
    talk.print(f"{total:,.0f} MB" if found else "nothing is that old", markup=False)


def _has_model(problem: str) -> bool:
    store = machine.load().store
    with contextlib.suppress(PawloopError):
        return Registry(store, name_of(store, problem)).readable_champion() is not None
    return False


def _take(photos: str, name: str) -> None:
    """Make photos the problem of this folder: a problem file, and its name in `.env`."""
    from tasks.formulate import formulate

    name = problems.slug(name or expanded(public(photos)).resolve().stem)
    path = formulate(name, photos, machine.load().store.resolve())
    file = Path(".env")
    kept = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    setting = f"{machine.PREFIX}PROBLEM"
    lines = [line for line in kept if not line.startswith(f"{setting}=")]
    before = machine.load().problem
    from pawloop import durable

    durable.write_bytes(file, "\n".join([*lines, f"{setting}={name}", ""]).encode(), mode=0o600)
    os.environ.pop(setting, None)
    talk.print(f"Problem file {path}; .env now says {setting}={name}", markup=False, soft_wrap=True)
    if before != name and _has_model(before):
        told = f"{before} is neither trained at night nor served by this stack any more"
        how = "docs/how-to/production.md says how several problems go on beside one another"
        talk.print(f"{told}; {how}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
