"""Make the map in CONTRIBUTING.md again, one line a module, from what each module says of itself.

    python scripts/make.py map
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

from setup import ROOT

from .marks import with_part

PAGE = ROOT / "CONTRIBUTING.md"
MARK = "map"
ROOMS = ("frdiff", "nodes", "scripts")


def make(_: argparse.Namespace) -> int:
    """Write the page; returns the exit code."""
    PAGE.write_text(page(), encoding="ascii")
    return 0


def page() -> str:
    """The page with the map as it should be."""
    lines = [line for room in ROOMS for line in _lines(ROOT / room)]
    return with_part(PAGE.read_text(encoding="ascii"), MARK, "\n".join(lines))


def _lines(folder: Path) -> Iterator[str]:
    """A room's line and those of its modules, then its rooms."""
    depth = len(folder.relative_to(ROOT).parts) - 1
    entry = folder / "__init__.py"
    yield f"{'  ' * depth}- **{folder.name}/** {_first_line(entry) if entry.is_file() else ''}".rstrip()
    for path in sorted(folder.glob("*.py")):
        if path != entry:
            yield f"{'  ' * (depth + 1)}- `{path.name}` {_first_line(path)}"
    for room in sorted(folder.iterdir()):
        if room.is_dir() and next(room.glob("*.py"), None) is not None:
            yield from _lines(room)


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="ascii"))) or ""
    return text.partition("\n\n")[0].replace("\n", " ")
