"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pawloop import cli, doctor, durable, running, terminal
from pawloop import problem as problems
from pawloop.settings import Settings
from tests import names, published
from tests.serve import running as serving

BIN = Path(sys.executable).parent / "pawloop"


class Shell:
    """A folder with a store and a problem, and the command to run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problem = published.problem_file(folder)
        self.environment = os.environ | {
            "PAWLOOP_STORE": str(folder / "store"),
            "PAWLOOP_PROBLEM": str(self.problem),
            "PAWLOOP_PORT": "1",
            "PAWLOOP_PREFECT_PORT": "1",
        }

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_prediction_goes_to_standard_output_and_a_bad_photo_to_standard_error(shell: Shell) -> None:
    published.champion(shell.folder / "store")
    good, bad = shell.folder / "good.png", shell.folder / "bad.jpg"
    good.write_bytes(published.photo())
    bad.write_text("no photo")
    done = shell.run("predict", good, bad)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{good}: ")
    assert "bad.jpg" not in done.stdout
    assert f"{bad}: these bytes are not an image" in done.stderr


def test_json_is_for_machines(shell: Shell) -> None:
    published.champion(shell.folder / "store")
    photo = shell.folder / "good.png"
    photo.write_bytes(published.photo())
    answer = json.loads(shell.run("predict", photo, "--json").stdout)
    assert answer["model"] == {"name": "colours", "version": 1}
    [row] = json.loads(shell.run("models", "list", "--json").stdout)
    assert row["part"] == "champion"


def test_without_a_champion_it_says_what_to_do(shell: Shell) -> None:
    photo = shell.folder / "x.png"
    photo.write_bytes(published.photo())
    done = shell.run("predict", photo)
    assert done.returncode == 1
    assert "run `pawloop retrain` first" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", ["models list", "models show", "data list", "data show", "experiments list"]
)
def test_what_is_not_there_yet_is_told_with_the_store(shell: Shell, command: str) -> None:
    told = shell.run(*command.split()).stderr
    assert f"in {shell.folder / 'store'}; run `pawloop retrain`" in told
    assert "PAWLOOP_STORE" in told


def test_a_wrong_problem_file_is_exit_status_2_and_names_the_nearest_key(shell: Shell) -> None:
    shell.problem.write_text(shell.problem.read_text().replace("sources", "source"))
    done = shell.run("retrain")
    assert done.returncode == 2
    assert 'did you mean "sources"?' in done.stderr.splitlines()[0]


def test_a_wrong_setting_is_named(shell: Shell) -> None:
    shell.environment["PAWLOOP_QUEUE"] = "many"
    done = shell.run("models", "list")
    assert done.returncode == 2
    assert "PAWLOOP_QUEUE" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("PAWLOOP_JOURNAL", "postgresql:/me:topsecret/db"), ("PAWLOOP_SERVER_URL", "ftp://me:topsecret@host")],
)
def test_a_wrong_setting_is_named_without_its_password(shell: Shell, name: str, value: str) -> None:
    shell.environment[name] = value
    done = shell.run("models", "list")
    assert done.returncode == 2
    assert f"{name}: " in done.stderr
    assert "topsecret" not in done.stderr


def test_an_object_store_is_refused_in_words(shell: Shell) -> None:
    shell.environment["PAWLOOP_STORE"] = "s3://bucket/store"
    done = shell.run("models", "list")
    assert done.returncode == 2
    assert "not a local folder" in done.stderr


@pytest.mark.parametrize("command", ["retrain", "up"])
def test_a_store_that_cannot_be_written_is_told_before_anything_starts(shell: Shell, command: str) -> None:
    shell.environment["PAWLOOP_STORE"] = "/proc/no-store"
    done = shell.run(command)
    assert done.returncode == 2
    assert "PAWLOOP_STORE: nothing can be written into" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(120)
def test_a_retrain_that_fails_says_why_once_and_without_a_traceback(shell: Shell) -> None:
    (shell.folder / "photos" / "cat").mkdir(parents=True)
    text = shell.problem.read_text().replace("sample://pets", "photos")
    shell.problem.write_text(f'{text}[model]\nbackbone = "efficientnet_lite0"\n')
    done = shell.run("retrain")
    assert done.returncode == 2
    [reason] = [line for line in done.stderr.splitlines() if line.startswith("pawloop: ")]
    assert done.stderr.count(reason.removeprefix("pawloop: ")) == 1
    assert "Traceback" not in done.stderr


def test_promote_and_rollback_tell_who_is_champion(shell: Shell) -> None:
    store = shell.folder / "store"
    published.champion(store)
    published.publish(store)
    assert "version 2 is champion" in shell.run("models", "promote", "2").stdout
    assert "version 1 is champion again" in shell.run("models", "rollback").stdout
    assert shell.run("models", "promote", "9").returncode == 1


@pytest.mark.parametrize("note", ["shadow.json", "rejected.json", "card.json"])
def test_a_version_with_a_damaged_note_is_named_and_the_others_are_listed(shell: Shell, note: str) -> None:
    store = shell.folder / "store"
    published.publish(store)
    published.champion(store)
    damaged = store / "models" / "colours" / "1" / note
    damaged.write_text("{")
    done = shell.run("models", "list", "--json")
    assert [row["version"] for row in json.loads(done.stdout)] == [2]
    assert f"version 1 is not listed: {damaged}: " in done.stderr
    assert done.returncode == 0


def test_prune_lists_what_is_old_and_deletes_it_when_it_is_told_to(shell: Shell) -> None:
    store = shell.folder / "store"
    published.champion(store)
    assert "nothing is that old" in shell.run("prune").stderr
    trained = store / "trained" / "0123"
    durable.write_bytes(trained / "network.safetensors", b"network")
    for path in (trained / "network.safetensors", trained):
        os.utime(path, (1e9, 1e9))
    assert "trained\t0123" in shell.run("prune").stdout
    assert json.loads(shell.run("prune", "--json").stdout) == [
        {"kind": "trained", "name": "0123", "bytes": 7}
    ]
    assert trained.exists()
    assert "Deleted." in shell.run("prune", "--yes").stderr
    assert not trained.exists()


def test_doctor_says_what_is_wrong_and_what_to_do(shell: Shell) -> None:
    done = shell.run("doctor", "--json")
    findings = json.loads(done.stdout)
    assert any("has no model yet" in finding["what"] for finding in findings)
    assert any("`make up` starts it" in finding["what"] for finding in findings)
    shell.environment["PAWLOOP_PROBLEM"] = "none-such"
    done = shell.run("doctor")
    assert done.returncode == 1
    assert 'there is no problem "none-such"' in done.stdout


def test_doctor_tells_whether_the_server_has_the_champion_in_service(shell: Shell) -> None:
    published.champion(shell.folder / "store")
    broken = published.publish(shell.folder / "store", wrong_self_test=("float32",))
    with serving.running(serving.settings(shell.folder)) as server:
        shell.environment["PAWLOOP_PORT"] = str(server.port)
        done = shell.run("doctor")
        assert "inference server answers" in done.stdout
        assert done.returncode == 0, done.stdout
        published.promote(shell.folder / "store", broken)
        serving.until(lambda: server.live.watcher.refused)
        done = shell.run("doctor")
        assert "it serves version 1, not 2, the champion: " in done.stdout
        assert "self-test" in done.stdout
        assert done.returncode == 1
        shell.environment["PAWLOOP_PROBLEM"] = str(published.problem_file(shell.folder, "tools"))
        assert "it serves colours, not tools" in shell.run("doctor").stdout


def test_doctor_tells_files_that_say_one_name_and_classes_that_the_champion_does_not_know(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "PROBLEMS", tmp_path)
    shell.problem.with_name("copied.toml").write_bytes(shell.problem.read_bytes())
    monkeypatch.setenv("PAWLOOP_STORE", str(tmp_path / "store"))
    published.promote(tmp_path / "store", published.publish(tmp_path / "store", classes=("cat", "hund")))
    told = [found.what for found in doctor.examine("colours")]
    assert 'colours.toml and copied.toml in problems/ say one name, "colours"; give each its own' in told
    assert any(what.startswith("version 1 knows cat, hund") for what in told)


@pytest.mark.parametrize(
    ("journal", "told"),
    [
        ("OFF", "the journal is off"),
        ("none", "must be `off` or an SQLAlchemy URL"),
        ("postgresql+pg8000://me:secret@db/x", "No module named 'pg8000'; install that package"),
        ("http://x:bad/", "the journal http://x:bad/ cannot be used"),
        ("sqlite:////dev/null/journal.db?timeout=9", "/dev/null/journal.db cannot be made"),
        ("sqlite:////dev/null/journal.db", "/dev/null/journal.db cannot be made"),
    ],
)
def test_doctor_looks_at_the_journal(shell: Shell, journal: str, told: str) -> None:
    shell.environment["PAWLOOP_JOURNAL"] = journal
    done = shell.run("doctor")
    assert done.returncode == (journal != "OFF")
    assert told in done.stdout
    assert "secret" not in done.stdout


def test_doctor_looks_at_the_journal_of_a_store_of_any_name(shell: Shell) -> None:
    store = shell.folder / "wh?at #1%41"
    store.mkdir()
    shell.environment["PAWLOOP_STORE"] = str(store)
    assert "the journal can be reached" in shell.run("doctor").stdout
    assert list(store.iterdir()) == []
    (store / "state").mkdir()
    (store / "state" / "journal.db").write_text("this is no database, but a text " * 99)
    assert "file is not a database" in shell.run("doctor").stdout


def test_doctor_takes_a_named_source_for_no_folder(shell: Shell) -> None:
    text = shell.problem.read_text().replace("sample://pets", "oxford-iiit-pet")
    shell.problem.write_text(text)
    assert "photos from oxford-iiit-pet" in shell.run("doctor").stdout


@pytest.mark.parametrize("command", ["retrain", "tune"])
def test_a_seed_that_no_generator_takes_is_told_at_once(shell: Shell, command: str) -> None:
    done = shell.run(command, "--seed", "-1")
    assert done.returncode == 2
    assert "greater than or equal to 0" in done.stderr


def test_doctor_knows_misspelt_settings_and_another_problem(shell: Shell) -> None:
    shell.environment |= {"PAWLOOP_PORTS": "8010"}
    (shell.folder / ".env").write_text("pawloop_treads=2\nPAWLOOP_QUEUE=8\n")
    done = shell.run("doctor", "--problem", "cat-vs-dog")
    assert done.returncode == 1
    assert 'PAWLOOP_PORTS is no setting, so nobody reads it; did you mean "PAWLOOP_PORT"?' in done.stdout
    assert 'pawloop_treads is no setting, so nobody reads it; did you mean "PAWLOOP_THREADS"?' in done.stdout
    assert "PAWLOOP_QUEUE = 8 (from .env)" in done.stdout
    assert "problem cat-vs-dog: cat, dog" in done.stdout


def test_doctor_tells_an_address_that_is_none(shell: Shell) -> None:
    shell.environment |= {"PAWLOOP_HOST": "localhost:8000"}
    done = shell.run("doctor")
    assert done.returncode == 1
    assert "http://[localhost:8000]:1/readyz is no address" in done.stdout


def test_a_store_in_the_home_is_there_also_where_no_shell_expands_it(shell: Shell) -> None:
    shell.environment |= {"PAWLOOP_STORE": "~/store", "HOME": str(shell.folder / "home")}
    assert f"store {shell.folder / 'home' / 'store'}" in shell.run("doctor").stdout
    assert not (shell.folder / "~").exists()


def test_names_in_brackets_are_seen_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.sys.stdout, "isatty", lambda: True, raising=False)
    terminal.table(("class",), [("[red]",)], "photos [a]")
    said = capsys.readouterr().out
    assert "[red]" in said
    assert "[a]" in said


def test_a_name_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b]0;owned\x07\x1b[31mbroken\x9b.jpg"
    terminal.line(f"unreadable: {name}\nand more")
    terminal.talk.print(name, markup=False)
    terminal.table(("file",), [(name,)], "photos")
    said = capsys.readouterr()
    assert said.out.startswith("unreadable: \\x1b]0;owned\\x07\\x1b[31mbroken\\x9b.jpg\nand more\n")
    assert not {"\x1b", "\x07", "\x9b"} & set(said.out + said.err)


def test_doctor_tells_a_first_training_that_is_under_way(shell: Shell) -> None:
    name = problems.load(str(shell.problem)).name
    with durable.lock(running.run_lock(shell.folder / "store", name), "retrain run sleepy-tapir"):
        done = shell.run("doctor")
    assert "its training is under way: retrain run sleepy-tapir" in done.stdout


def test_a_file_that_is_not_there_is_named_once(shell: Shell) -> None:
    published.champion(shell.folder / "store")
    gone = shell.folder / "gone.jpg"
    said = shell.run("predict", gone).stderr
    assert said.count(str(gone)) == 1
    assert "cannot be read: No such file" in said


def test_help_is_quick_in_that_it_loads_no_torch(shell: Shell) -> None:
    code = "import sys, pawloop.cli; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "prefect", "onnxruntime", "pyarrow", "sklearn"} & set(loaded.stdout.split())


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "http://127.0.0.1:abc", "http://"])
def test_an_address_that_is_none_is_told_with_its_setting(shell: Shell, url: str) -> None:
    shell.environment["PAWLOOP_SERVER_URL"] = url
    done = shell.run("models", "list")
    assert done.returncode == 2
    assert "PAWLOOP_SERVER_URL" in done.stderr


def test_settings_that_are_no_text_are_told(shell: Shell) -> None:
    (shell.folder / ".env").write_bytes(b"PAWLOOP_STORE=B\xfcro\n")
    done = shell.run("models", "list")
    assert done.returncode == 2
    assert ".env: is no UTF-8 text" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('PAWLOOP_STORE="elsewhere\nPAWLOOP_PORT=1\n', ".env: line 1 (PAWLOOP_STORE) cannot be read"),
        ("PAWLOOP_PORT=1\n\nexport PAWLOOP_ADMIN_TOKEN='sesame\n", ".env: line 3 (PAWLOOP_ADMIN_TOKEN)"),
        ("PAWLOOP_PORT=1\n=x\n", ".env: line 2 cannot be read"),
    ],
)
def test_a_line_of_settings_that_cannot_be_read_is_told_and_no_default_taken(
    shell: Shell, text: str, told: str
) -> None:
    (shell.folder / ".env").write_text(text)
    for command in (("models", "list"), ("doctor",)):
        done = shell.run(*command)
        assert done.returncode == (1 if command == ("doctor",) else 2)
        assert told in done.stdout + done.stderr
        assert "sesame" not in done.stdout + done.stderr
        assert "python-dotenv" not in done.stderr


def test_comments_quotes_and_lines_of_others_are_settings_like_any(shell: Shell) -> None:
    (shell.folder / ".env").write_text(
        "\ufeffPAWLOOP_QUEUE = 8 # few\n# PAWLOOP_PORT=\"1\nOTHER='two\nlines'\nexport LONE\n\n"
    )
    assert "PAWLOOP_QUEUE = 8 (from .env)" in shell.run("doctor").stdout


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:8000"])
def test_a_server_that_is_not_there_is_told_once_for_many_photos(shell: Shell, url: str) -> None:
    photos = [shell.folder / f"{number}.png" for number in range(30)]
    for photo in photos:
        photo.write_bytes(published.photo("red"))
    done = shell.run("predict", *photos, "--url", url)
    assert done.returncode == 1
    assert done.stderr.count(url) == 1


@pytest.mark.e2e
def test_ctrl_c_ends_a_retrain_and_its_passing_prefect_server(shell: Shell) -> None:
    as_on_a_terminal = (  # whoever runs the tests may have the signal ignored
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from pawloop.cli import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", as_on_a_terminal, "retrain"],
        cwd=shell.folder,
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as started:
        assert started.stdout is not None
        begun = next(line for line in started.stdout if "Task run 'collect" in line)
        children = psutil.Process(started.pid).children(recursive=True)
        os.killpg(started.pid, signal.SIGINT)  # as a terminal does
        said = begun + started.stdout.read()
        assert started.wait(60) == 130, said
    assert "aborted by an interrupt signal" in said
    assert "Traceback" not in said
    assert not [child for child in children if child.is_running()]


def test_a_source_that_does_not_answer_is_exit_status_1_since_it_may_answer_later(shell: Shell) -> None:
    code = "import time; time.sleep = lambda _: None; from pawloop.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "init", "far", "--photos", "http://127.0.0.1:9/photos.zip"],
        cwd=shell.folder, env=shell.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "http://127.0.0.1:9/photos.zip: cannot be reached" in done.stderr
    assert done.returncode == 1


def test_a_servers_key_may_stand_in_the_file_of_settings(shell: Shell) -> None:
    published.champion(shell.folder / "store")
    keys = shell.folder / "keys"
    keys.write_text(f"minka:{hashlib.sha256(b'sesame').hexdigest()}\n")
    photo = shell.folder / "red.png"
    photo.write_bytes(published.photo("red"))
    (shell.folder / ".env").write_text("PAWLOOP_API_KEY=sesame\n")
    with serving.running(serving.settings(shell.folder, api_keys=keys)) as server:
        assert "cat" in shell.run("predict", photo, "--url", server.url).stdout
        assert shell.run("predict", photo, "--url", server.url, "--api-key", "another").returncode == 1
    assert "PAWLOOP_API_KEY = (set) (from .env)" in shell.run("doctor").stdout


def test_doctor_names_what_keeps_the_server_from_starting(shell: Shell) -> None:
    for wrong, told in (
        ({"PAWLOOP_API_KEYS": "/nowhere/keys"}, "/nowhere/keys"),
        ({"PAWLOOP_HOST": "0.0.0.0"}, "PAWLOOP_OPEN=1"),
        ({"PAWLOOP_ORIGINS": "*"}, "every page"),
        ({"PAWLOOP_STORE": str(shell.problem)}, "is a file, not a folder"),
    ):
        before, shell.environment = shell.environment, shell.environment | wrong
        done = shell.run("doctor")
        shell.environment = before
        assert done.returncode == 1, told
        assert told in done.stdout


def test_doctor_prints_no_password(shell: Shell) -> None:
    shell.environment["PAWLOOP_JOURNAL"] = "postgresql://me:topsecret@db/x"
    said = shell.run("doctor").stdout
    assert "postgresql://me:***@db/x" in said
    assert "topsecret" not in said


def test_doctor_shows_sources_and_servers_without_their_keys(shell: Shell) -> None:
    text = shell.problem.read_text().replace("sample://pets", "https://me:topsecret@host/x.zip?key=topsecret")
    shell.problem.write_text(text)
    shell.environment["PAWLOOP_SERVER_URL"] = "http://me:topsecret@127.0.0.1:1"
    shell.environment["PAWLOOP_ALLOWED_SOURCES"] = "https://me:topsecret@host"
    said = shell.run("doctor").stdout
    assert "photos from https://host/x.zip" in said
    assert "PAWLOOP_ALLOWED_SOURCES = https://host (from environment)" in said
    assert "topsecret" not in said


def test_json_is_json_and_lines_are_lines_whatever_a_terminal_would_like(shell: Shell) -> None:
    published.champion(shell.folder / "store")
    shell.environment |= {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    [row] = json.loads(shell.run("models", "list", "--json").stdout)
    assert row["version"] == 1
    assert shell.run("models", "list").stdout.startswith("version\tpart\t")
    assert "\x1b" not in shell.run("models", "show").stdout


def test_names_that_are_no_text_are_answered_with_the_others(shell: Shell) -> None:
    published.champion(shell.folder / "store")
    for name in (b"b\xff.png", b"a:dog:.png"):
        with names.any_bytes():
            Path(os.fsdecode(bytes(shell.folder) + b"/" + name)).write_bytes(published.photo("red"))
    shell.environment |= {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"}
    done = shell.run("predict", *sorted(shell.folder.glob("*.png")))
    assert done.returncode == 0, done.stderr
    assert "a:dog:.png: cat" in done.stdout
    assert "b\\udcff.png: cat" in done.stdout
    answers = shell.run("predict", *sorted(shell.folder.glob("*.png")), "--json").stdout
    assert [json.loads(one)["label"] for one in answers.splitlines()] == ["cat", "cat"]


@pytest.mark.parametrize("errors_to", ["terminal", "file"])
def test_answers_stand_above_the_bar_on_a_terminal(errors_to: str) -> None:
    code = (
        "from pawloop import terminal\n"
        "with terminal.bar('photos', beside_results=True) as count:\n"
        "    for n in range(3):\n"
        "        count(n, 3)\n"
        "        terminal.line(f'{n}.png: cat')\n"
        "        terminal.print_json({'n': n}, indent=None)\n"
        "        terminal.talk.print('no photo')\n"
    )
    ours, theirs = pty.openpty()
    errors = theirs if errors_to == "terminal" else subprocess.PIPE
    told = subprocess.run([sys.executable, "-c", code], stdout=theirs, stderr=errors, check=True)
    os.close(theirs)
    drawn = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "photos" in drawn
    assert all(f"{n}.png: cat\r\n" in drawn and f'{{"n": {n}}}\r\n' in drawn for n in range(3))
    assert drawn.count("no photo") == (3 if errors_to == "terminal" else 0)
    assert (told.stderr or b"").count(b"no photo") == (0 if errors_to == "terminal" else 3)


def test_what_other_commands_ask_for_stands_whole_on_a_narrow_terminal() -> None:
    code = (
        "import sys; from pawloop import terminal; sys.stdout.isatty = lambda: True; "
        "terminal.table(['run', 'what'], [['20261127-010203-abcd', 'word ' * 30]], 'x')"
    )
    drawn = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"COLUMNS": "40"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "20261127-010203-abcd" in drawn.stdout


def test_a_model_that_the_store_knows_needs_no_problem_file(shell: Shell) -> None:
    published.champion(shell.folder / "store")
    photo = shell.folder / "good.png"
    photo.write_bytes(published.photo())
    shell.environment["PAWLOOP_PROBLEM"] = "colours"
    assert shell.run("predict", photo).returncode == 0
    assert "colours has no problem file here" in shell.run("doctor").stdout
    shell.environment["PAWLOOP_PROBLEM"] = "shapes"
    done = shell.run("predict", photo)
    assert done.returncode == 2
    assert "holds models of: colours" in done.stderr


def test_doctor_tells_a_damaged_note_of_the_stack_and_looks_on(shell: Shell) -> None:
    with running.noted(Settings(store=shell.folder / "store")):
        (shell.folder / "store" / "state" / "up.json").write_text("{")
        done = shell.run("doctor")
    assert done.returncode == 1
    assert "up.json: is not as it was written" in done.stdout
    assert "inference server does not answer" in done.stdout


def test_doctor_finds_fault_with_servers_that_should_answer_and_do_not(shell: Shell) -> None:
    done = shell.run("doctor")
    assert done.returncode == 0, done.stdout
    assert "inference server does not answer" in done.stdout
    with running.noted(Settings(store=shell.folder / "store", port=1, prefect_port=1)):
        done = shell.run("doctor")
    assert done.returncode == 1
    assert "Prefect server does not answer at http://127.0.0.1:1/api/health, though" in done.stdout
    assert "inference server does not answer at http://127.0.0.1:1/readyz, though" in done.stdout
    shell.environment["PAWLOOP_SERVER_URL"] = "http://127.0.0.1:1"
    done = shell.run("doctor")
    assert done.returncode == 1
    assert "PAWLOOP_SERVER_URL names it" in done.stdout


def test_doctor_looks_at_the_journal_in_the_store_too(shell: Shell) -> None:
    journal = shell.folder / "store" / "state" / "journal.db"
    assert "journal" not in shell.run("doctor").stdout
    journal.parent.mkdir(parents=True)
    journal.write_text("this is no database, but a text " * 99)
    done = shell.run("doctor")
    assert done.returncode == 1
    assert "file is not a database" in done.stdout


def test_a_stack_that_may_not_start_leaves_the_folder_as_it_is(shell: Shell) -> None:
    before = sorted(shell.folder.iterdir())
    with running.noted(Settings(store=shell.folder / "store")):
        done = shell.run("up", "--photos", shell.folder)
    assert done.returncode == 1
    assert "held by `pawloop up`" in done.stderr
    assert sorted(shell.folder.iterdir()) == [*before, shell.folder / "store"]


def test_a_new_file_of_settings_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.formulate.formulate", lambda *_: tmp_path / "pets.toml")
    cli._take("photos", "pets")
    assert (tmp_path / ".env").read_text() == "PAWLOOP_PROBLEM=pets\n"
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


def test_doctor_tells_that_the_champion_decides_by_other_costs(shell: Shell) -> None:
    name = problems.load(shell.problem).name
    champion = published.champion(shell.folder / "store", name)
    assert "decides by other costs" not in shell.run("doctor").stdout
    other = champion.card.ask_cost / 2
    shell.problem.write_text(shell.problem.read_text() + f"\n[cost]\nask = {other}\n")
    assert "version 1 decides by other costs than the problem file names" in shell.run("doctor").stdout
