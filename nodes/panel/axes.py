"""What the plots have in common: their scales, ticks and numbers, and where a label finds room."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy

from .canvas import At, Box, Canvas, Text

# Of an axis: an error below it, in percent, is not worth telling from nothing.
SMALLEST_ERROR = 0.001
TICK = 10
# Above and below the errors.
ROOM = 1.4


@dataclass(frozen=True)
class Scale:
    """A stretch of values on a stretch of the plot, in proportion or by powers."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Where a value is; those outside are at the ends."""
        low, high, value = (math.log(v) if self.logarithmic else v for v in (self.low, self.high, self._within(value)))
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def _within(self, value: float) -> float:
        return min(max(value, self.low), self.high)


def error_scale(percents: Iterable[float], bottom: float, top: float) -> Scale:
    """A logarithmic scale that holds all errors above zero, in percent, and is no finer than a power of ten."""
    known = [max(percent, SMALLEST_ERROR) for percent in percents if percent > 0] or [0.3]
    low, high = min(known) / ROOM, max(known) * ROOM
    widened = max((10 * low / high) ** 0.5, 1.0)
    return Scale(low / widened, high * widened, bottom, top, logarithmic=True)


def error_axis(canvas: Canvas, scale: Scale, left: float, right: float) -> None:
    """Lines and numbers of an error scale, at powers of ten; where these are few, at three times them, too."""
    decades = math.log10(scale.high / scale.low)
    apart = math.ceil(decades / 5)
    for power in range(math.ceil(math.log10(scale.low)) - 1, math.floor(math.log10(scale.high)) + 1):
        for factor in (1, 3) if decades <= 3 else (1,):
            value = 10.0**power * factor
            if scale.low <= value <= scale.high and power % apart == 0:
                y = scale(value)
                canvas.line([(left, y), (right, y)], "faint")
                canvas.text(Text((left - 5, y), f"{figure(value)} %", "muted", TICK, "rm"))


def round_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers within a stretch, about so many."""
    step = nice((high - low) / about)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def nice(value: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= value * 0.999999)


def figure(value: float) -> str:
    """A number with three digits that count, and never with a power of ten."""
    return numpy.format_float_positional(value, precision=3, fractional=False, trim="-")


def unit_of(ms: float) -> tuple[str, float]:
    """The unit in which a time in milliseconds is told, and how many milliseconds it has."""
    return ("s", 1000.0) if ms >= 1000 else ("ms", 1.0)


def placed(texts: Sequence[Text], taken: list[Box], within: Box) -> Text:
    """The first of some places of a label that is free, else the one that covers least; it is taken from then on."""
    best = min(texts, key=lambda text: sum(_overlap(text.box, box) for box in taken) + _outside(text.box, within))
    taken.append(best.box)
    return best


def along(points: Sequence[At], size: float = 2) -> list[Box]:
    """Small boxes along a line, for what labels are not to cover."""
    boxes: list[Box] = []
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        pieces = max(int(max(abs(x1 - x0), abs(y1 - y0)) // (2 * size)), 1)
        for i in range(pieces + 1):
            x, y = x0 + (x1 - x0) * i / pieces, y0 + (y1 - y0) * i / pieces
            boxes.append((x - size, y - size, x + size, y + size))
    return boxes


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Box, within: Box) -> float:
    """How much of a box is outside, weighted so that a covered label is better than a cut one."""
    return 10 * ((box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, within))
