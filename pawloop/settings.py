"""What the machine decides: settings from the environment (`PAWLOOP_…`) or a `.env` file.

Knows nothing about what the business decides; that stands in the problem file.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import tempfile
import zoneinfo
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pawloop.errors import SettingsError
from pawloop.hosts import origin_of
from pawloop.paths import expanded

PREFIX = "PAWLOOP_"
_FILE = ".env"
_PILLOWS_PIXELS = 178_956_970  # of an image past which Pillow opens none, whatever it is asked


class Settings(BaseSettings):
    """Every setting, with its default. The names in the environment carry the prefix `PAWLOOP_`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=_FILE, extra="ignore", env_ignore_empty=True, frozen=True
    )

    store: Path = Field(Path("store"), description="Folder of everything that Pawloop keeps.")
    problem: str = Field(
        "cat-vs-dog", description="Problem taken when none is named: a name in problems/ or a path."
    )
    host: str = Field("127.0.0.1", description="Address that the inference server binds to.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the inference server.")
    prefect_port: int = Field(
        4200, ge=1, le=65535, description="Port of the Prefect server that `make up` starts."
    )
    server_url: str = Field(
        "", description="Server that a retrain asks to confirm the new model; empty asks none."
    )
    timezone: str = Field(
        "", description="Time zone of the schedules, such as Europe/Berlin; empty takes the machine's."
    )
    threads: int = Field(
        0, ge=0, description="Inference threads; 0 takes one a core that this process may use."
    )
    provider: Literal["auto", "cpu", "openvino"] = Field(
        "auto", description="onnxruntime execution provider."
    )
    precision: Literal["auto", "float32", "int8"] = Field(
        "auto", description="Variant of the model to serve; auto takes the fastest admitted one."
    )
    queue: int = Field(
        64, ge=1, description="Photos that may wait for a thread before the server answers 503."
    )
    timeout_ms: int = Field(
        10_000, ge=1, description="Deadline of a request that does not name its own, milliseconds."
    )
    upload_timeout_s: float = Field(
        30, gt=0, description="Time that a client may take to send its body, seconds."
    )
    keep_alive_s: int = Field(
        30, ge=1, description="Time after which a connection without a call is closed, seconds."
    )
    root_path: str = Field("", description="Prefix that a proxy in front takes off, such as /cats.")
    forwarded_allow_ips: str = Field(
        "127.0.0.1,::1",
        description="Proxies whose X-Forwarded-For and -Proto are believed, comma separated; * is any.",
    )
    journal: str = Field(
        "", description="SQLAlchemy URL of the journal; empty is SQLite in the store; `off`."
    )
    keep_photos: float = Field(
        1.0, ge=0, le=1, description="Share of the answered photos whose bytes are kept."
    )
    keep_photos_mb: int = Field(2_000, ge=0, description="Quota of the kept photos, megabytes.")
    keep_answers_days: int = Field(
        0, ge=0, description="Days after which answers that nobody labelled go, and their photos; 0 is never."
    )
    max_bytes: int = Field(20 * 2**20, ge=1, description="Largest request body, bytes.")
    max_pixels: int = Field(
        50_000_000, ge=1, le=_PILLOWS_PIXELS, description="Largest photo, pixels, before decoding."
    )
    api_keys: Path | None = Field(
        None, description="File of API keys, one `name:sha256-of-key` a line; empty asks for none."
    )
    api_key: str = Field("", description="Key that `pawloop predict --url` shows to a server.")
    hosts: str = Field(
        "",
        description="Names under which pages reach this server through a proxy, comma separated; others than "
        "this machine's are refused where anybody on it may call without a key.",
    )
    origins: str = Field(
        "",
        description="Origins of other sites' pages that may call this server, such as https://app.example, "
        "comma separated; * is any.",
    )
    admin_token: str = Field("", description="Token for calls that change the server's state.")
    open: bool = Field(False, description="1 allows an address other than loopback without API keys.")
    access_log: bool = Field(False, description="1 writes a line of JSON a call to stdout.")
    allowed_sources: str = Field(
        "/",
        description="Folders and addresses, comma separated, that a run's `source` may name or lie below.",
    )
    test_data: Path = Field(
        Path("../shared/data"), description="Folder of real photos for the tests that need them."
    )

    @field_validator("store", "api_keys", "test_data")
    @classmethod
    def _a_path(cls, path: Path | None) -> Path | None:
        # Of `.env` no shell expands it, and a folder named "~" is a trap for whoever removes it.
        return path and expanded(path)

    @field_validator("server_url")
    @classmethod
    def _an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0):
            raise ValueError("must be an address such as http://127.0.0.1:8000")
        return url.rstrip("/")

    @field_validator("root_path")
    @classmethod
    def _a_prefix(cls, path: str) -> str:
        if path and not path.startswith("/"):
            raise ValueError("must begin with /, such as /cats")
        return path.rstrip("/")

    @field_validator("origins")
    @classmethod
    def _as_browsers_send_them(cls, listed: str) -> str:
        return ",".join(origin_of(one) for one in _parts(listed))

    @field_validator("journal")
    @classmethod
    def _a_database(cls, url: str) -> str:
        if url.strip().lower() == "off":
            return "off"
        is_fleeting = url in ("sqlite://", "sqlite:///") or ":memory:" in url
        if url and ("://" not in url or is_fleeting):
            raise ValueError("must be `off` or an SQLAlchemy URL such as sqlite:////data/journal.db")
        return url

    @field_validator("timezone")
    @classmethod
    def _a_zone(cls, name: str) -> str:
        known = zoneinfo.available_timezones() if name else set()  # none where a machine has no list of them
        if known and name not in known:
            raise ValueError("must be a name such as Europe/Berlin")
        return name

    @property
    def own_url(self) -> str:
        """The inference server as seen from this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def thread_count(self) -> int:
        """Inference threads to start: what was asked for, else one a core that is really ours."""
        return self.threads or usable_cores()

    @property
    def allowed_places(self) -> tuple[str, ...]:
        """The folders and addresses that a run's `source` may name or lie below."""
        return _parts(self.allowed_sources)

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of other sites' pages that may call, as browsers send them; `*` is any."""
        return _parts(self.origins)

    @property
    def journal_url(self) -> str | Path | None:
        """SQLAlchemy URL of the journal, or its file in the store; None when it is switched off."""
        if self.journal == "off":
            return None
        return self.journal or self.store.resolve() / "state" / "journal.db"


def _parts(listed: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in listed.split(",") if part.strip())


def load(**given: object) -> Settings:
    """The settings as they are now. Raises SettingsError that names the variable, or the line, at fault.

    given: those that a command line names in the place of the environment's; None is not named.
    """
    try:
        _require_readable(Path(_FILE))
        settings = Settings.model_validate({name: one for name, one in given.items() if one is not None})
    except ValidationError as error:
        lines = [
            f"{PREFIX}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}{_got(e['loc'], e['input'])}"
            for e in error.errors()
        ]
        raise SettingsError(
            "\n".join(lines) + "\nCorrect the option, the environment or the file .env"
        ) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f".env: is no UTF-8 text ({error.reason}); save it as UTF-8") from None
    if "://" in str(os.environ.get(f"{PREFIX}STORE", settings.store)) or str(settings.store).startswith(
        ("s3:", "gs:", "az:", "abfs:")
    ):
        raise SettingsError(
            f"{PREFIX}STORE: {settings.store} is not a local folder; object stores are not "
            "supported yet, name a folder on this machine"
        )
    return settings


def _got(place: tuple[int | str, ...], value: object) -> str:
    """The value at fault, unless it is, or holds, a password."""
    is_secret = not {"journal", "admin_token", "api_key"}.isdisjoint(place) or "@" in str(value)
    return "" if is_secret else f" (got {value!r})"


def _require_readable(file: Path) -> None:
    """Raise SettingsError for a line that says nothing, which the parser passes over with a mere warning.

    The setting that it meant would keep its default, and work go on in another store, say. Its value is
    not shown, since it may be secret.
    """
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as text:
        lines = [one.original for one in parse_stream(text) if one.error]
    if lines:
        told = [f"{file}: {_place(one.line, one.string)} cannot be read" for one in lines]
        raise SettingsError("\n".join(told) + "; write KEY=value, and close a quote that is opened")


def _place(number: int, text: str) -> str:
    """Such as "line 3 (KEY)". text: the line, with the empty ones before it; number: of the first of them."""
    line = text.lstrip()
    number += text[: len(text) - len(line)].count("\n")
    key = re.match(r"(?:export\s+)?(\w+)\s*=", line)
    return f"line {number} ({key[1]})" if key else f"line {number}"


def nothing_yet(what: str) -> str:
    """For a person: that something is missing, where it was looked for, and what to do."""
    where = load().store.resolve()
    return f"{what} in {where}; run `pawloop retrain`, or name another store by {PREFIX}STORE"


def require_store(store: Path) -> None:
    """Raise SettingsError unless files can be written into the store, which is made where missing."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=store) as file:
            file.write(b"x")
    except OSError as error:
        raise SettingsError(
            f"{PREFIX}STORE: nothing can be written into {store}: {error.strerror}; give this user the "
            "right to and the disk some room, or name another folder"
        ) from None


@cache
def usable_cores() -> int:
    """Cores that this process may use: the affinity mask, cut by the cgroup's CPU quota (v2 or v1).

    `os.cpu_count` says what the machine has, which in a container is not what the process gets.
    """
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0)
    cores = cores or float(os.cpu_count() or 1)
    return max(1, int(min(cores, _cgroup_quota())))


def _cgroup_quota(system: Path = Path("/")) -> float:
    """The smallest share of cores of this process's control groups, from its own up to the root.

    In a container the root is its own; a service's lies further down (docs.kernel.org, "cgroup-v2").
    """
    mount, own = system / "sys/fs/cgroup", {"": "/", "cpu": "/"}  # v2's and v1's
    with contextlib.suppress(OSError):
        for line in (system / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            own |= dict.fromkeys(controllers.split(","), path)
    v2 = [_quota(folder / "cpu.max") for folder in _upwards(mount, own[""])]
    v1 = [
        _quota(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
        for folder in _upwards(mount / "cpu", own["cpu"])
    ]
    return min(v2 + v1)


def _upwards(mount: Path, path: str) -> list[Path]:
    folder = mount / path.lstrip("/")
    return [one for one in (folder, *folder.parents) if one.is_relative_to(mount)]


def _quota(*files: Path) -> float:
    try:
        quota, period = " ".join(file.read_text() for file in files).split()[:2]
    except (OSError, ValueError):
        return math.inf
    return math.inf if quota in ("max", "-1") else float(quota) / float(period)
