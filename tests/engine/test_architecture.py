"""The dependency direction: web -> nodes -> frdiff -> torch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "nodes", "folder_paths", "server", "execution"}

pytestmark = pytest.mark.quick


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="ascii"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


@pytest.mark.parametrize("path", sorted((ROOT / "frdiff").rglob("*.py")), ids=lambda path: path.name)
def test_the_engine_imports_nothing_of_the_host(path):
    assert not [name for level, name, _ in imports(path) if not level and name.split(".")[0] in HOST]
    depth = len(path.relative_to(ROOT / "frdiff").parts)
    assert not [name for level, name, _ in imports(path) if level > depth]


@pytest.mark.parametrize("path", sorted((ROOT / "nodes").rglob("*.py")), ids=lambda path: path.name)
def test_nothing_reaches_into_private_names(path):
    assert not [n for level, _, names in imports(path) if level for n in names if n.startswith("_")]
