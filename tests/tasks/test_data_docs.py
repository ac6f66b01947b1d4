"""The reference on data names every key, verdict and column that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawloop.sections import NAMED_SOURCES, Data, Validate, is_path
from tasks import archive, photo_list, sources, verdict
from tests.tasks.albums import album, made, problem

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("section", [Data, Validate])
def test_every_key_of_the_problem_file_is_in_the_reference(section: type[Data | Validate]) -> None:
    keys = {field.alias or name for name, field in section.model_fields.items()}

    assert {key for key in keys if f"`{key}`" not in PAGE} == set()


def test_every_verdict_is_in_the_reference() -> None:
    alone = {"kept", "unreadable", "truncated", "too small", "blank", "animated"}
    beside = {verdict.NO_LABEL, verdict.TWO_CLASSES, verdict.COPY, verdict.TWIN}

    assert {name for name in alone | beside if f"| `{name}` |" not in PAGE} == set()


def test_every_form_of_source_is_in_the_reference() -> None:
    forms = {*sources.NAMED, *photo_list.SUFFIXES, *archive.ZIPS, *archive.TARS}

    assert {form for form in forms if form not in PAGE} == set()


def test_a_named_source_is_no_path() -> None:
    assert set(sources.NAMED) == set(NAMED_SOURCES)
    assert not any(is_path(name) or is_path(f"{name}://") for name in sources.NAMED)


def test_every_column_of_a_manifest_is_in_the_reference(tmp_path: Path) -> None:
    columns = made(problem(album(tmp_path / "photos")), tmp_path / "store").rows().column_names

    assert {name for name in columns if f"`{name}`" not in PAGE} == set()
