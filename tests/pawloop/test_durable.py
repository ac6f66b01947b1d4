"""Files that are whole or absent, and locks that die with their holder."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pawloop import durable
from pawloop.errors import BusyError, DamagedFileError

HOLD = """
import sys, time
from pathlib import Path
from pawloop import durable
with durable.lock(Path(sys.argv[1]), "a test that holds"):
    print("held", flush=True)
    time.sleep(60)
"""


def fill_disk(path: Path) -> None:
    with durable.aside(path) as draft:
        draft.write_bytes(b"half of the ne")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_cannot_be_synced_fails_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def as_over_a_network(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", as_over_a_network)
    durable.write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_disk_that_knows_no_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(durable.fcntl, "flock", refuse)
    with (
        pytest.raises(OSError, match=f"No locks available: '{tmp_path / 'a.lock'}'"),
        durable.lock(tmp_path / "a.lock", "a test"),
    ):
        pass


def test_a_write_on_a_full_disk_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write_bytes(path, b"old")
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        fill_disk(path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_not_there_is_told_by_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "no" / "folder" / "file"
    with pytest.raises(FileNotFoundError, match=f"'{path}'"), durable.aside(path):
        pass


@pytest.mark.parametrize("content", [b"", b'{"port": 80', b"\xff\xfe{", b"[]", b"{}"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "note.json"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=f"{path}: is not as it was written .*; delete it"):
        durable.read_json(path, lambda note: int(note["port"]), "delete it")


def test_a_private_file_stays_private_when_it_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("PAWLOOP_ADMIN_TOKEN=secret\n")
    path.chmod(0o600)
    durable.write_bytes(path, b"other")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_nobody_may_write_keeps_that_when_it_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o444)
    durable.write_bytes(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o027, 0o640), (0o022, 0o644), (0o002, 0o664)])
def test_a_new_file_and_its_draft_are_as_private_as_the_umask_says(
    tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        with durable.aside(tmp_path / "file") as draft:
            draft.write_bytes(b"new")
            assert draft.stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_the_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(BusyError, match=rf"a test that holds \(process {holder.pid} on"),
            durable.lock(path, "x"),
        ):
            pass
        assert str(durable.holder(path)).startswith(f"a test that holds (process {holder.pid} on")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert durable.holder(path) is None
    with durable.lock(path, "x"):
        pass


def test_a_holder_without_a_word_has_not_that_of_one_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    path.write_text("retrain run 7 (process 1 on here, since yesterday)")
    with durable.lock(path, ""):
        assert "retrain" not in str(durable.holder(path))


def test_a_lock_on_a_full_disk_is_named_and_let_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most[1]))  # the kernel's "no" to a write, as of a full disk
    try:
        with pytest.raises(OSError, match=f"File too large: '{path}'"), durable.lock(path, "x"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    with durable.lock(path, "another"):
        assert path.read_text().startswith("another (process")


def test_equal_content_has_equal_keys_whatever_the_order() -> None:
    assert durable.content_key({"a": 1, "b": 2}) == durable.content_key({"b": 2, "a": 1})
    assert durable.content_key(1) != durable.content_key("1")
