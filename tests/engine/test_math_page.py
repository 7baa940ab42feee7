"""The mathematics page and the docstrings name each other: no equation without its function, none that is not there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "math.md").read_text(encoding="ascii")
EQUATION = r"\d+\.\d+"
# "docs/math.md, equation 1.2", "equations 1.2 and 1.4", "equations 1.2 to 1.4".
REFERENCE = re.compile(rf"docs/math\.md, (?:equations? )?({EQUATION}(?:(?:, | and | to ){EQUATION})*)")
SECTION = re.compile(r"docs/math\.md, (?:section )?(\d+)(?!\.?\d)")
# What `(n.m)` stands in front of.
NAMED = re.findall(rf"^- \(({EQUATION})\) `([^`:]+):([^`]+)`", PAGE, flags=re.MULTILINE)
TENSORS = re.compile(r"torch\.Tensor|np\.ndarray|Latent")
# A tuple such as (B, C, ...) or (N + 1,), or words.
SHAPE = re.compile(r"\([A-Z](?: ?[+*] ?\d| [A-Z])?,[^()]*\)|\(\d+,[^()]*\)|shape")

pytestmark = pytest.mark.quick


def documented(path):
    """The docstrings of a module, its classes and functions, by qualified name."""
    found = {}

    def visit(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = prefix + child.name
                found[name] = " ".join((ast.get_docstring(child) or "").split())
                visit(child, name + ".")

    tree = ast.parse(path.read_text(encoding="ascii"))
    visit(tree, "")
    return {"": " ".join((ast.get_docstring(tree) or "").split()), **found}


def sources():
    return sorted(path for room in ("frdiff", "nodes") for path in (ROOT / room).rglob("*.py"))


def equations_in(text):
    """The equations that a docstring refers to; from one to another are all between."""
    for listed in REFERENCE.findall(text):
        numbers = re.findall(EQUATION, listed)
        if " to " in listed:
            section, first, last = *numbers[0].split("."), numbers[-1].split(".")[1]
            numbers = [f"{section}.{n}" for n in range(int(first), int(last) + 1)]
        yield from numbers


def test_each_equation_stands_once_and_names_its_function():
    equations = re.findall(rf"\\tag\{{({EQUATION})\}}", PAGE)
    assert len(equations) == len(set(equations))
    assert sorted(equations) == sorted(number for number, _, _ in NAMED)


@pytest.mark.parametrize(("number", "path", "name"), NAMED, ids=[number for number, _, _ in NAMED])
def test_the_function_of_an_equation_exists_and_names_the_equation(number, path, name):
    docstrings = documented(ROOT / path)
    assert name in docstrings and number in equations_in(docstrings[name])


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_equations_and_sections_in_docstrings_exist(path):
    sections = set(re.findall(r"^## (\d+)\. ", PAGE, flags=re.MULTILINE))
    equations = {number for number, _, _ in NAMED}
    for text in documented(path).values():
        assert set(equations_in(text)) <= equations
        assert set(SECTION.findall(text)) <= sections
        # Each reference is understood.
        assert text.count("docs/math.md") == len(REFERENCE.findall(text)) + len(SECTION.findall(text))


def test_equations_are_in_order_where_they_name_their_functions():
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        numbers = [int(n.split(".")[1]) for n in re.findall(rf"^- \(({EQUATION})\)", section, flags=re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", sorted((ROOT / "frdiff").rglob("*.py")),
                         ids=lambda path: path.relative_to(ROOT).as_posix())  # fmt: skip
def test_functions_of_tensors_and_arrays_say_the_shapes(path):
    silent = []
    for node in ast.walk(ast.parse(path.read_text(encoding="ascii"))):
        if isinstance(node, (ast.Module, ast.ClassDef)):
            silent += [each.name for each in node.body if isinstance(each, ast.FunctionDef)
                       and each.name != "__init__" and _takes_tensors(each)
                       and not SHAPE.search(ast.get_docstring(each) or "")]  # fmt: skip
    assert not silent


def _takes_tensors(function):
    arguments = [*function.args.args, *function.args.kwonlyargs]
    written = [argument.annotation for argument in arguments if argument.annotation] + [function.returns]
    return any(TENSORS.search(ast.unparse(annotation)) for annotation in written if annotation)
