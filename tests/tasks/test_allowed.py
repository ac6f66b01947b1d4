"""What a run may be asked to read: only what lies below a place that the operator named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pawloop.errors import SourceError
from pawloop.settings import Settings
from tasks.allowed import require_allowed


@pytest.mark.parametrize(
    "source",
    ["sample://pets", "{home}/pets", "s3://bucket/photos/cats", "https://host/x.zip", "file://{home}/pets"],
)
def test_sources_below_an_allowed_place_may_be_asked_for(source: str, tmp_path: Path) -> None:
    places = [str(tmp_path), "s3://bucket/photos", "https://host"]

    require_allowed(source.format(home=tmp_path), places)


@pytest.mark.parametrize(
    "source",
    [
        "/etc",
        "{home}/../x",
        "s3://bucket/photos2",
        "s3://bucket/photos/../x",
        "https://host.evil/x",
        "file:///etc",
        "https://host/x.zip::file:///etc/x.zip",
    ],
)
def test_other_sources_are_refused(source: str, tmp_path: Path) -> None:
    places = [str(tmp_path), "s3://bucket/photos", "https://host"]

    with pytest.raises(SourceError, match=re.escape("does not allow this source (allowed: ")):
        require_allowed(source.format(home=tmp_path), places)


def test_a_refusal_shows_no_key() -> None:
    with pytest.raises(SourceError) as caught:
        require_allowed("https://me:s3cret@host/x.zip?key=s3cret", ["https://me:s3cret@host.example"])

    assert "https://host/x.zip" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_by_default_every_folder_of_this_machine_is_allowed_and_no_other_machine(tmp_path: Path) -> None:
    places = Settings(_env_file=None).allowed_places

    require_allowed(str(tmp_path), places)
    with pytest.raises(SourceError, match="PAWLOOP_ALLOWED_SOURCES"):
        require_allowed("https://host/pets.zip", places)


def test_the_setting_is_a_list_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWLOOP_ALLOWED_SOURCES", " /photos, s3://bucket/pets ,")

    assert Settings().allowed_places == ("/photos", "s3://bucket/pets")
