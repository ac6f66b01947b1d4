"""The documentation names every key, setting and command, or a test fails."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from pawloop import problem as problems
from pawloop.cli import app
from pawloop.settings import Settings
from tasks.formulate import formulate
from tests import published

TREE = Path(__file__).resolve().parent.parent
REFERENCE = TREE / "docs" / "reference"


def commands() -> list[str]:
    def names(group: typer.main.TyperGroup, before: str) -> list[str]:
        found = []
        for name, command in group.commands.items():
            inner = isinstance(command, typer.main.TyperGroup)
            found += names(command, f"{before} {name}") if inner else [f"{before} {name}"]
        return found

    group = typer.main.get_command(app)
    assert isinstance(group, typer.main.TyperGroup)
    return names(group, "pawloop")


def sections() -> list[type[BaseModel]]:
    fields = problems.Problem.model_fields.values()
    inner = [f.annotation for f in fields if isinstance(f.annotation, type)]
    return [problems.Problem, *(kind for kind in inner if issubclass(kind, BaseModel))]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_its_line(name: str) -> None:
    assert f"| `PAWLOOP_{name.upper()}` |" in (REFERENCE / "settings.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("section", sections(), ids=lambda kind: kind.__name__)
def test_every_key_of_the_problem_file_has_its_line(section: type[BaseModel]) -> None:
    text = (REFERENCE / "problem-file.md").read_text(encoding="utf-8")
    for name, field in section.model_fields.items():
        key = field.alias or name
        assert f"| `{key}` |" in text or f"`[{key}]`" in text, key


@pytest.mark.parametrize("command", commands())
def test_every_command_has_its_line_and_an_example_in_its_help(command: str) -> None:
    assert f"`{command}" in (REFERENCE / "command-line.md").read_text(encoding="utf-8")
    shown = CliRunner().invoke(app, [*command.split()[1:], "--help"])
    assert "Example:" in shown.output, command


def test_every_link_between_the_documents_leads_somewhere() -> None:
    pages = [TREE / "README.md", *(TREE / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_what_people_type_is_named_where_the_installation_puts_it() -> None:
    for page in (TREE / "README.md", TREE / "docs" / "tutorial.md", *REFERENCE.glob("*.md")):
        assert "`prefect " not in page.read_text(encoding="utf-8"), page.name


def test_the_costs_of_the_tutorial_fit_into_a_file_that_was_written(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        (tmp_path / "photos" / label / "1.jpg").write_bytes(published.photo())
    path = formulate("photos", str(tmp_path / "photos"), tmp_path, tmp_path)
    tutorial = (TREE / "docs" / "tutorial.md").read_text(encoding="utf-8")
    [costs] = re.findall(r"```toml\n(.*?)```", tutorial, re.DOTALL)

    path.write_text(re.sub(r"# mistake = .*\n", costs, path.read_text()))

    assert problems.load(path).cost.mistake == {"dog": {"cat": 5.0}}


def test_the_readme_names_both_commands() -> None:
    text = (TREE / "README.md").read_text(encoding="utf-8")
    assert "make up" in text
    assert "make test" in text
