"""Plots and sheets of pictures, drawn with the host's own Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy
import torch
from PIL import Image, ImageDraw, ImageFont

from ...frdiff.reporting.step_map import Cell

PAPER, INK, FAINT, ACCENT = "#ffffff", "#1c1c1c", "#c9c9c9", "#1f6fb2"
STEP_PLOT = (720, 300)
SPEED_PLOT = (760, 480)
MARGIN = 52
GAP, LINE = 8, 17
# Of the median computed step: the first one pays for loading and warming up, and would make the others invisible.
TALLEST_BAR = 2.0
LARGEST_CELL = 512
# Of an axis, in milliseconds and percent: less is not worth telling from nothing.
SMALLEST_TIME, SMALLEST_ERROR = 0.01, 0.01


@dataclass(frozen=True)
class Point:
    """A run in the speed-error plot; `series` chooses its mark, `spread` is its slowest and fastest speed-up."""

    label: str
    speedup: float
    error: float
    series: str
    spread: tuple[float, float] | None = None


# Outline or filled, and the number of corners (0 is a circle): no meaning by colour alone.
MARKS = {"dial": (0, True), "schedule": (4, True), "fewer steps": (3, False)}


def to_image(picture: Image.Image) -> torch.Tensor:
    """A picture as the host's IMAGE (1, H, W, 3) in 0..1."""
    return torch.from_numpy(numpy.asarray(picture.convert("RGB"), dtype=numpy.float32) / 255)[None]


def to_picture(image: torch.Tensor) -> Image.Image:
    """The first of the host's IMAGEs (B, H, W, C) as a picture."""
    pixels = (image[0, ..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(numpy.ascontiguousarray(pixels))


def step_plot(cells: Sequence[Cell], title: str) -> Image.Image:
    """Bars of each step's time, filled as its kind and cut where too tall, and the forecast errors."""
    picture, draw = _canvas(STEP_PLOT, title)
    left, top, right, bottom = MARGIN, 56, STEP_PLOT[0] - 16, STEP_PLOT[1] - 44
    most = _nice(max(_scale(cells), SMALLEST_TIME))
    unit, size = ("s", 1000) if most > 1000 else ("ms", 1)
    _y_axis(draw, (left, top, right, bottom), most / size, unit)
    width = (right - left) / max(len(cells), 1)
    for i, cell in enumerate(cells):
        _bar(draw, cell, left + i * width, width, (top, bottom), most)
    _forecast_errors(draw, cells, (left, top, right, bottom), width)
    for i in _ticks(len(cells)):
        draw.text((left + (i + 0.5) * width, bottom + 4), str(i + 1), INK, _font(11), anchor="ma")
    legend = "filled: computed    half: computed in part    outline: skipped    cut: longer    x: forecast error"
    draw.text((left, STEP_PLOT[1] - 18), legend, INK, _font(11), anchor="lm")
    return picture


def speed_error_plot(points: Sequence[Point]) -> Image.Image:
    """Runs by measured speed-up and by the error of their latents, in percent."""
    picture, draw = _canvas(SPEED_PLOT, "Speed and error, measured here")
    box = left, top, right, bottom = MARGIN, 44, SPEED_PLOT[0] - 100, SPEED_PLOT[1] - 60
    fastest = _nice(max([1.0, *(max(point.speedup, *(point.spread or (0.0,))) for point in points)]))
    most = _nice(max([SMALLEST_ERROR, *(point.error * 100 for point in points)]))
    _y_axis(draw, box, most, "error, %")
    for tick in range(5):
        x = left + (right - left) * tick / 4
        draw.text((x, bottom + 4), f"{figure(fastest * tick / 4)}x", INK, _font(11), anchor="ma")
    draw.text(((left + right) / 2, bottom + 20), "speed-up of the sampling time", INK, _font(12), anchor="ma")
    for point in points:
        at = left + (right - left) * point.speedup / fastest, bottom - (bottom - top) * point.error * 100 / most
        ends = [left + (right - left) * end / fastest for end in point.spread or (point.speedup, point.speedup)]
        draw.line((ends[0], at[1], ends[1], at[1]), INK)
        _mark(draw, at, *MARKS[point.series])
        # On the two sides, because a run and the plain one that takes as long are often close.
        beside, anchor = (ends[0] - 9, "rm") if point.series == "fewer steps" else (ends[1] + 9, "lm")
        draw.text((beside, at[1]), point.label, INK, _font(11), anchor=anchor)
    for i, (series, mark) in enumerate(MARKS.items()):
        _mark(draw, (left + 10 + i * 130, SPEED_PLOT[1] - 14), *mark)
        draw.text((left + 22 + i * 130, SPEED_PLOT[1] - 14), series, INK, _font(11), anchor="lm")
    return picture


def figure(value: float) -> str:
    """A number with three digits that count, and never with a power of ten."""
    return numpy.format_float_positional(value, precision=3, fractional=False, trim="-")


def grid(pictures: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Pictures side by side in rows, each with its label under it."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    first = pictures[0]
    scale = min(LARGEST_CELL / max(first.size), 1.0) if max(first.size) > LARGEST_CELL else max(
        1, 192 // max(first.size)
    )
    width, height = (max(round(side * scale), 1) for side in first.size)
    cell_width = max(width, 160)
    below = 6 + LINE * max(label.count("\n") + 1 for label in labels)
    sheet = Image.new("RGB", (columns * (cell_width + GAP) + GAP, rows * (height + below + GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = GAP + (i % columns) * (cell_width + GAP), GAP + (i // columns) * (height + below + GAP)
        sheet.paste(picture.resize((width, height)), (x, y))
        draw.multiline_text((x, y + height + 3), label, INK, _font(12), spacing=3)
    return sheet


def _canvas(size: tuple[int, int], title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, 10), title, INK, _font(14))
    return picture, draw


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _y_axis(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], most: float, unit: str) -> None:
    left, top, right, bottom = box
    for tick in range(5):
        y = bottom - (bottom - top) * tick / 4
        draw.line((left, y, right, y), INK if tick == 0 else FAINT)
        draw.text((left - 6, y), figure(most * tick / 4), INK, _font(11), anchor="rm")
    draw.text((left - 6, top - 14), unit, INK, _font(11), anchor="rm")


def _scale(cells: Sequence[Cell]) -> float:
    """The milliseconds at full height."""
    computed = [cell.ms for cell in cells if cell.kind == "full"]
    tallest = max((cell.ms for cell in cells), default=0.0)
    return min(tallest, TALLEST_BAR * median(computed)) if computed else tallest


def _bar(
    draw: ImageDraw.ImageDraw, cell: Cell, x: float, width: float, span: tuple[float, float], most: float
) -> None:
    highest, bottom = span
    inset = 1 if width > 4 else 0
    x0, x1 = x + inset, max(x + width - inset - 1, x + inset)
    # A skipped step is drawn even when its time is too short to see.
    top = max(bottom - max((bottom - highest) * cell.ms / most, 4), highest)
    draw.rectangle((x0, top, x1, bottom), outline=INK, fill=INK if cell.kind == "full" else PAPER)
    if cell.kind == "partial":
        draw.rectangle((x0, (top + bottom) / 2, x1, bottom), fill=INK)
    if cell.ms > most:
        draw.line((x0 - 1, top + 10, x1 + 1, top + 6), PAPER, 3)


def _forecast_errors(
    draw: ImageDraw.ImageDraw, cells: Sequence[Cell], box: tuple[int, int, int, int], width: float
) -> None:
    left, top, right, bottom = box
    known = [(i, cell.forecast_error) for i, cell in enumerate(cells) if cell.forecast_error is not None]
    if not known:
        return
    most = _nice(max([SMALLEST_ERROR, *(error * 100 for _, error in known)]))
    for i, error in known:
        x, y = left + (i + 0.5) * width, bottom - (bottom - top) * error * 100 / most
        draw.line((x - 3, y - 3, x + 3, y + 3), ACCENT, 2)
        draw.line((x - 3, y + 3, x + 3, y - 3), ACCENT, 2)
    draw.text((right, top - 14), f"x: forecast error, full height is {figure(most)} %", ACCENT, _font(11), anchor="rm")


def _mark(draw: ImageDraw.ImageDraw, at: tuple[float, float], corners: int, filled: bool) -> None:
    x, y = at
    if corners:
        draw.regular_polygon((x, y, 6), corners, fill=INK if filled else PAPER, outline=INK)
    else:
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=INK if filled else PAPER, outline=INK)


def _ticks(steps: int) -> range:
    """At most ten steps to be labelled, from the first on."""
    return range(0, steps, max(math.ceil(steps / 10), 1))


def _nice(value: float) -> float:
    """The smallest of some round numbers times a power of ten that is not below a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    factors = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)
    return next(power * factor for factor in factors if power * factor >= value * 0.999999)
