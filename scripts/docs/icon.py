"""Draw docs/icon.svg and docs/banner.svg for the registry, out of the cells of the step map.

    python scripts/make.py icon
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from setup import ROOT

DOCS = ROOT / "docs"
# What the registry takes: a square icon of at most 400 x 400, a banner of 21 : 9.
ICON, BANNER = (400, 400), (1260, 540)
BACKGROUND, INK, PALE = "#16181d", "#f2f3f5", "#5d6470"
FULL, HALF, HOLLOW = "#", "+", "."
# The steps of a run, five in a row: computed, computed in part, skipped.
STEPS = ("##+#.", "#..#.", ".#..#", "..+.#", ".#.##")
LETTERS = {
    "F": ("#####", "#....", "#....", "####.", "#....", "#....", "#...."),
    "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
    "D": ("####.", "#...#", "#...#", "#...#", "#...#", "#...#", "####."),
    "I": ("#####", "..#..", "..#..", "..#..", "..#..", "..#..", "#####"),
}


def make(_: argparse.Namespace) -> None:
    """Write both pictures."""
    for path, text in files().items():
        path.write_text(text, encoding="ascii")


def files() -> dict[Path, str]:
    """The pictures' files with their content."""
    return {DOCS / "icon.svg": picture(ICON, icon()), DOCS / "banner.svg": picture(BANNER, banner())}


def icon() -> Iterable[str]:
    """A map of 25 steps."""
    for row, kinds in enumerate(STEPS):
        for column, kind in enumerate(kinds):
            yield cell(44 + 64 * column, 44 + 64 * row, 52, kind)


def banner() -> Iterable[str]:
    """The name in cells, and a run of steps below it."""
    for place, letter in enumerate("FRDIFF"):
        for row, kinds in enumerate(LETTERS[letter]):
            for column, kind in enumerate(kinds):
                if kind == FULL:
                    yield cell(73 + 32 * (6 * place + column), 120 + 32 * row, 26, kind)
    for step, kind in enumerate("".join(STEPS) + "..#..#...#"):
        yield cell(73 + 32 * step, 390, 26, kind)


def cell(x: int, y: int, size: int, kind: str) -> str:
    """A step: filled where it is computed, half where it is computed in part, hollow where it is skipped."""
    edge = max(size // 13, 2)
    inner, color = size - edge, PALE if kind == HOLLOW else INK
    frame = (
        f'<rect x="{x + edge / 2:g}" y="{y + edge / 2:g}" width="{inner}" height="{inner}" rx="{size / 8:g}" '
        f'fill="{INK if kind == FULL else "none"}" stroke="{color}" stroke-width="{edge}"/>'
    )
    half = f'<rect x="{x}" y="{y + size / 2:g}" width="{size}" height="{size / 2:g}" rx="{size / 8:g}" fill="{INK}"/>'
    return frame + half if kind == HALF else frame


def picture(size: tuple[int, int], shapes: Iterable[str]) -> str:
    """An SVG file."""
    width, height = size
    background = f'<rect width="{width}" height="{height}" fill="{BACKGROUND}"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return "\n".join([head, background, *shapes, "</svg>", ""])
