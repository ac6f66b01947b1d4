"""The direction of imports, which is what keeps the rooms apart."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "torchvision", "prefect", "fastapi"}
ROOMS = {"pawloop", "serve", "export", "tasks", "flows", "bench"}
MAY_NOT = {
    "pawloop": HEAVY | ROOMS - {"pawloop"},
    "serve": {"torch", "torchvision", "prefect"} | ROOMS - {"pawloop", "serve"},
    "export": {"prefect", "fastapi"} | ROOMS - {"pawloop", "export"},
    "tasks": {"prefect", "fastapi"} | ROOMS - {"pawloop", "export", "tasks"},
    "flows": {"fastapi"} | ROOMS - {"pawloop", "export", "tasks", "flows"},
}
# The command line may import the rest, inside its commands.
COMMAND_LINE = {
    "pawloop/cli.py",
    "pawloop/cli_models.py",
    "pawloop/cli_data.py",
    "pawloop/cli_experiments.py",
    "pawloop/answers.py",
}


def imported(path: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", MAY_NOT)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    for path in sorted((TREE / room).rglob("*.py")):
        name = path.relative_to(TREE).as_posix()
        found = imported(path, top_level_only=name in COMMAND_LINE)
        assert not found & MAY_NOT[room], f"{name} imports {found & MAY_NOT[room]}"


def test_a_server_loads_neither_torch_nor_prefect() -> None:
    code = "import sys, serve.run; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "torchvision", "prefect", "onnx", "sklearn"} & set(loaded.stdout.split())
