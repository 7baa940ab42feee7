"""The plot of one run: how long each step took, what was done at it, and how good forecasts would have been."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from ...frdiff.reporting.step_map import Cell
from .axes import TICK, Scale, error_axis, error_scale, figure, placed, round_ticks, unit_of
from .canvas import Box, Canvas, Text, fitted

WIDE, ON_NODE = (600, 330), (400, 260)
# Of the median computed step: the first one pays for loading and warming up, and would make the others invisible.
TALLEST_BAR = 1.6
# Of an axis, in milliseconds: less is not worth telling from nothing.
SMALLEST_TIME = 0.01
# A skipped step is drawn even when its time is too short to see.
LOWEST_BAR = 4
WORDS = {"full": "computed", "partial": "in part", "skip": "skipped"}
LEFT, ERRORS_SHARE, BETWEEN = 54, 0.3, 30


def step_plot(canvas: Canvas, cells: Sequence[Cell], title: str) -> None:
    """Bars of each step's time, filled as its kind and cut where too tall, and the forecast errors below."""
    canvas.text(Text((12, 16), fitted(title, 13, canvas.width - 24), "ink", 13))
    right, top, bottom = canvas.width - 14, 62, canvas.height - 34
    known = [(i, cell.forecast_error * 100) for i, cell in enumerate(cells) if cell.forecast_error is not None]
    middle = bottom - (bottom - top) * ERRORS_SHARE if known else bottom
    width = (right - LEFT) / max(len(cells), 1)
    _times(canvas, cells, (LEFT, top, right, middle - (BETWEEN if known else 0)), width)
    if known:
        _forecast_errors(canvas, known, (LEFT, middle, right, bottom), width)
    for i in range(0, len(cells), max(math.ceil(len(cells) / 10), 1)):
        canvas.text(Text((LEFT + (i + 0.5) * width, bottom + 6), str(i + 1), "muted", TICK, "ma"))
    canvas.text(Text((LEFT - 5, bottom + 6), "step", "muted", TICK, "ra"))


def _times(canvas: Canvas, cells: Sequence[Cell], box: Box, width: float) -> None:
    left, top, right, bottom = box
    most = max(_tallest(cells), SMALLEST_TIME)
    unit, size = unit_of(most)
    for ms in round_ticks(0, most, about=5):
        y = bottom - (bottom - top) * ms / most
        canvas.line([(left, y), (right, y)], "faint" if ms else "muted")
        canvas.text(Text((left - 5, y), f"{figure(ms / size)} {unit}", "muted", TICK, "rm"))
    for i, cell in enumerate(cells):
        _bar(canvas, cell, left + i * width, width, box, most)
    _names(canvas, cells, box, width, most)


def _tallest(cells: Sequence[Cell]) -> float:
    """The milliseconds at full height."""
    computed = [cell.ms for cell in cells if cell.kind == "full"]
    tallest = max((cell.ms for cell in cells), default=0.0)
    return min(tallest, TALLEST_BAR * median(computed)) if computed else tallest


def _height(cell: Cell, box: Box, most: float) -> float:
    """The top of a step's bar."""
    _, top, _, bottom = box
    return max(bottom - max((bottom - top) * cell.ms / most, LOWEST_BAR), top)


def _bar(canvas: Canvas, cell: Cell, x: float, width: float, box: Box, most: float) -> None:
    bottom, top = box[3], _height(cell, box, most)
    inset = min(1.0, width / 8)
    x0, x1 = x + inset, x + width - inset
    canvas.box((x0, top, x1, bottom), "ink" if cell.kind == "full" else "paper", "ink")
    if cell.kind == "partial":
        canvas.box((x0, (top + bottom) / 2, x1, bottom), "ink", "ink")
    if cell.ms > most:
        canvas.line([(x0 - 0.5, top + 7), (x1 + 0.5, top + 4)], "paper", 2)


def _names(canvas: Canvas, cells: Sequence[Cell], box: Box, width: float, most: float) -> None:
    """What was done, above a step of each kind, and that a step was longer than its bar."""
    left, top, right, _ = box
    kinds = {kind: [i for i, cell in enumerate(cells) if cell.kind == kind] for kind in WORDS}
    named = [(steps, f"{len(steps)} {WORDS[kind]}") for kind, steps in kinds.items() if steps]
    cut = [i for i, cell in enumerate(cells) if cell.ms > most][:1]
    for i in cut:
        unit, size = unit_of(cells[i].ms)
        named.insert(0, (cut, f"cut: {figure(cells[i].ms / size)} {unit}"))
    taken: list[Box] = []
    # Those with few steps first: the others have more places to choose from.
    for steps, words in sorted(named, key=lambda one: len(one[0])):
        places = {i: Text((left + (i + 0.5) * width, top - 14), words, "ink", TICK, "ls") for i in steps}
        text = placed(list(places.values()), taken, (left - 4, 0, right + 6, top))
        taken.append((text.box[0] - 8, text.box[1], text.box[2] + 8, text.box[3]))
        canvas.text(text)
        i = next(i for i, place in places.items() if place is text)
        canvas.line([(text.at[0], top - 12), (text.at[0], _height(cells[i], box, most) - 1)], "muted", 0.75)


def _forecast_errors(canvas: Canvas, known: list[tuple[int, float]], box: Box, width: float) -> None:
    left, top, right, bottom = box
    scale: Scale = error_scale((error for _, error in known), bottom - 3, top)
    error_axis(canvas, scale, left, right)
    words = Text((left, top - 11), "error that a skip there would have had", "ours", TICK)
    canvas.text(words)
    x = words.box[2] + 14
    canvas.arrow((x, top - 17), (x, top - 5), "muted")
    canvas.text(Text((x + 6, top - 11), "better", "muted", TICK))
    for i, error in known:
        canvas.circle((left + (i + 0.5) * width, scale(error)), 2.6, "ours", "ours")
