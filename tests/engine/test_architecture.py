"""The dependency direction: web -> nodes -> frdiff -> torch, and the layers of the engine."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ENGINE, NODES = ROOT / "frdiff", ROOT / "nodes"
HOST = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "nodes", "folder_paths", "server", "execution"}
# Each may import those before it, and those beside it.
LAYERS = [
    {"errors", "reasons", "tensors", "forward_patch", "store"},
    {"sampler", "forecasting", "blocks"},
    {"engine"},
    {"planning"},
    {"schedule_files", "reporting"},
    {"runtime"},
    {"auto_fr"},
]
# Within a layer: what may import what.
BESIDE = {("store", "tensors"), ("forecasting", "sampler")}
SMALL = {"errors.py", "presets.py"}
LONGEST, SHORTEST, LONGEST_FUNCTION = 260, 25, 45

pytestmark = pytest.mark.quick


def sources(folder):
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="ascii"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


def imported_rooms(path):
    """The rooms of the engine that a module of it imports."""
    here = path.relative_to(ENGINE).parts[:-1]
    for level, module, names in imports(path):
        if level:
            base = here[: len(here) - level + 1]
            target = [*base, *(module.split(".") if module else names)]
            yield target[0]


def room_of(path):
    return path.relative_to(ENGINE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sources(ENGINE), ids=name_of)
def test_the_engine_imports_nothing_of_the_host(path):
    assert not [name for level, name, _ in imports(path) if not level and name.split(".")[0] in HOST]
    depth = len(path.relative_to(ENGINE).parts)
    assert not [name for level, name, _ in imports(path) if level > depth]


@pytest.mark.parametrize("path", [path for path in sources(ENGINE) if path.parent != ENGINE or path.stem != "__init__"],
                         ids=name_of)  # fmt: skip
def test_a_layer_imports_only_those_below_it(path):
    own = room_of(path)
    layer = next(number for number, rooms in enumerate(LAYERS) if own in rooms)
    below = set().union(*LAYERS[:layer])
    assert {room for room in imported_rooms(path) if room != own and (own, room) not in BESIDE} <= below


@pytest.mark.parametrize("path", sources(NODES), ids=name_of)
def test_nothing_reaches_into_private_names(path):
    assert not [n for level, _, names in imports(path) if level for n in names if n.startswith("_")]


def defines_nodes(path):
    return "(io.ComfyNode)" in path.read_text(encoding="ascii")


@pytest.mark.parametrize("path", [path for path in sources(NODES) if defines_nodes(path)], ids=name_of)
def test_nodes_do_not_import_each_other(path):
    others = {other.stem for other in NODES.glob("*.py") if defines_nodes(other)}
    assert not [module for level, module, _ in imports(path) if level == 1 and module in others]


@pytest.mark.parametrize("path", sources(ENGINE) + sources(NODES), ids=name_of)
def test_modules_and_functions_have_a_readable_size(path):
    text = path.read_text(encoding="ascii")
    lines = len(text.splitlines())
    assert lines <= LONGEST and (path.stem == "__init__" or lines >= SHORTEST or path.name in SMALL)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = {node.name: node.end_lineno - node.lineno + 1 for node in ast.walk(ast.parse(text))
            if isinstance(node, functions) and node.name != "define_schema"}  # fmt: skip
    assert {name: size for name, size in long.items() if size > LONGEST_FUNCTION} == {}
