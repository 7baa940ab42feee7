"""Draws speed against error: one picture per model, one panel per step count and sampler.

Drawn with Pillow, which every ComfyUI has: a plotting library beside it would bring a second numpy for the host.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 520, 400
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 30, 44
COLUMNS = 3
LEGEND_HEIGHT = 30
LEGEND_ENTRY = 130
RADIUS = 4
# Drawn larger and reduced, for smooth lines.
OVERSAMPLING = 2
SPEEDUPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
DECIBELS = 10
COLOURS = ("#7f7f7f", "#d62728", "#ff7f0e", "#2ca02c", "#9467bd", "#1f77b4", "#8c564b", "#17becf")
# Its members are not one method at several strengths.
UNJOINED = ("preset",)
INK, GRID = "#222222", "#dddddd"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Axes:
    """Where a panel is and what it spans: speed-up on a logarithmic axis, PSNR in dB on a linear one."""

    left: float
    top: float
    fastest: float
    lowest: float
    highest: float

    def point(self, speedup: float, psnr: float) -> tuple[float, float]:
        """The place of a value in the picture; slower than plain is drawn at plain."""
        across = math.log(max(speedup, 1.0)) / math.log(self.fastest)
        up = (psnr - self.lowest) / (self.highest - self.lowest)
        x = self.left + LEFT + across * (WIDTH - LEFT - RIGHT)
        return x, self.top + HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write `speed_error_<model>.png` for every model of the rows and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for model in dict.fromkeys(row["model"] for row in rows):
        path = folder / f"speed_error_{model}.png"
        picture([row for row in rows if row["model"] == model]).save(path)
        paths.append(path)
    return paths


def picture(rows: Sequence[Row]) -> Image.Image:
    """All panels of one model, under a legend."""
    cells = list(dict.fromkeys((row["steps"], row["sampler"]) for row in rows))
    families = list(dict.fromkeys(row["family"] for row in rows if row["psnr"] is not None))
    colours = {family: COLOURS[i % len(COLOURS)] for i, family in enumerate(families)}
    columns = min(COLUMNS, len(cells))
    width = max(columns * WIDTH, LEFT + len(families) * LEGEND_ENTRY)
    size = (width, LEGEND_HEIGHT + -(-len(cells) // columns) * HEIGHT)
    pen = Pen(size)
    for place, (family, colour) in enumerate(colours.items()):
        x = LEFT + place * LEGEND_ENTRY
        pen.dot((x, LEGEND_HEIGHT / 2), colour)
        pen.text((x + 10, LEGEND_HEIGHT / 2), family, "lm")
    for place, (steps, sampler) in enumerate(cells):
        corner = (place % columns * WIDTH, LEGEND_HEIGHT + place // columns * HEIGHT)
        shown = [row for row in rows if (row["steps"], row["sampler"]) == (steps, sampler) and row["psnr"] is not None]
        _panel(pen, corner, f"{rows[0]['model']}, {steps} steps, {sampler}", shown, colours)
    return pen.image.resize(size, Image.Resampling.LANCZOS)


def _panel(pen: Pen, corner: tuple[int, int], title: str, rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    pen.text((corner[0] + WIDTH / 2, corner[1] + TOP / 2), title, "mm")
    if not rows:
        pen.text((corner[0] + WIDTH / 2, corner[1] + HEIGHT / 2), "All pictures are equal.", "mm")
        return
    axes = _axes(corner, rows)
    _frame(pen, axes)
    for family, colour in colours.items():
        points = sorted((row["speedup"], row["psnr"]) for row in rows if row["family"] == family)
        places = [axes.point(*point) for point in points]
        if family not in UNJOINED:
            pen.line(places, colour, 2)
        for place in places:
            pen.dot(place, colour)


def _axes(corner: tuple[int, int], rows: Sequence[Row]) -> Axes:
    levels = [row["psnr"] for row in rows]
    lowest = math.floor(min(levels) / DECIBELS) * DECIBELS
    highest = math.floor(max(levels) / DECIBELS + 1) * DECIBELS
    return Axes(*corner, max(2.0, 1.05 * max(row["speedup"] for row in rows)), lowest, highest)


def _frame(pen: Pen, axes: Axes) -> None:
    """Grid lines with their values, and what the axes are."""
    for speedup in (value for value in SPEEDUPS if value <= axes.fastest):
        bottom = axes.point(speedup, axes.lowest)
        pen.line([bottom, axes.point(speedup, axes.highest)], GRID)
        pen.text((bottom[0], bottom[1] + 4), f"{speedup:g}x", "mt")
    for level in range(int(axes.lowest), int(axes.highest) + 1, DECIBELS):
        start = axes.point(1, level)
        pen.line([start, axes.point(axes.fastest, level)], GRID)
        pen.text((start[0] - 6, start[1]), str(level), "rm")
    low, high = axes.point(1, axes.lowest), axes.point(axes.fastest, axes.highest)
    pen.text(((low[0] + high[0]) / 2, low[1] + 20), "measured speed-up", "mt")
    pen.text((axes.left + 6, axes.top + TOP / 2), "PSNR dB", "lm")


class Pen:
    """A canvas in the picture's own coordinates, drawn at a multiple of its size."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.image = Image.new("RGB", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING), "white")
        self._draw = ImageDraw.Draw(self.image)
        self._font = ImageFont.load_default(13 * OVERSAMPLING)

    def line(self, points: Iterable[tuple[float, float]], colour: str, width: int = 1) -> None:
        """A line through points."""
        self._draw.line([_scaled(point) for point in points], colour, width * OVERSAMPLING)

    def dot(self, point: tuple[float, float], colour: str) -> None:
        """A filled circle."""
        x, y = _scaled(point)
        radius = RADIUS * OVERSAMPLING
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)

    def text(self, point: tuple[float, float], text: str, anchor: str) -> None:
        """A word, placed by Pillow's anchor."""
        self._draw.text(_scaled(point), text, INK, self._font, anchor)


def _scaled(point: tuple[float, float]) -> tuple[float, float]:
    return point[0] * OVERSAMPLING, point[1] * OVERSAMPLING
