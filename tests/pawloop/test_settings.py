"""What the machine decides: cores as control groups tell them, and settings of a form of their own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pawloop import settings
from pawloop.errors import SettingsError


def machine(folder: Path, groups: str, **files: str) -> Path:
    """A root of a file system with these control groups; of files' names `__` is a slash."""
    told = {"proc/self/cgroup": groups} | {
        f"sys/fs/cgroup/{name.replace('__', '/')}": content for name, content in files.items()
    }
    for name, content in told.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a__b__cpu.max": "max 100000\n", "a__cpu.max": "200000 100000\n"}, 2),
        ("0::/a/b\n", {"a__b__cpu.max": "50000 100000\n", "a__cpu.max": "200000 100000\n"}, 0.5),
        (
            "4:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/\n",
            {"cpu__a__cpu.cfs_quota_us": "300000\n", "cpu__a__cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("4:cpu:/a\n", {"cpu__cpu.cfs_quota_us": "-1\n", "cpu__cpu.cfs_period_us": "100000\n"}, math.inf),
    ],
    ids=["container", "no quota", "service", "the smaller", "version 1", "version 1, no quota"],
)
def test_the_smallest_quota_on_the_way_to_the_root_counts(
    tmp_path: Path, groups: str, files: dict[str, str], quota: float
) -> None:
    assert settings._cgroup_quota(machine(tmp_path, groups, **files)) == quota


def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert settings._cgroup_quota(tmp_path) == math.inf


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("", ()),
        ("https://App.example/ ,http://b.example:80", ("https://app.example", "http://b.example")),
        ("https://a.example:8443,https://b.example:443", ("https://a.example:8443", "https://b.example")),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
        ("chrome-extension://abc", ("chrome-extension://abc",)),
        ("*", ("*",)),
    ],
)
def test_origins_are_taken_as_browsers_send_them(given: str, origins: tuple[str, ...]) -> None:
    assert settings.Settings(_env_file=None, origins=given).allowed_origins == origins


@pytest.mark.parametrize(
    "given",
    ["app.example", "null", "https://", "https://a.example/app", "https://me@a.example", "https://a.example?b",
     "https://*.example:x", "http://[", "https://a.example:0", "https://bär.example", "a.example, *"],
)  # fmt: skip
def test_what_is_no_origin_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWLOOP_ORIGINS", given)
    with pytest.raises(SettingsError, match="PAWLOOP_ORIGINS"):
        settings.load()
