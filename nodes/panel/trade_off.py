"""The plot of a sweep: how long each run took, and how far it is from the plain one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .axes import TICK, Scale, along, error_axis, error_scale, figure, placed, round_ticks
from .canvas import MARK, Box, Canvas, Text

WIDE, ON_NODE = (600, 380), (400, 290)
TITLE = "Speed and error, measured here"
LABEL = 11
# Between the errors and the line for those that are none.
BREAK = 22


@dataclass(frozen=True)
class Point:
    """A run: its label, seconds with the least and the most, its error relative to the plain run, and its series."""

    label: str
    seconds: float
    error: float
    series: str
    spread: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """How the runs of one kind are drawn: no meaning by colour alone."""

    mark: str
    colour: str
    filled: bool
    joined: bool


SERIES = {
    "plain": Series("square", "ink", True, False),
    "dial": Series("circle", "ours", True, True),
    "schedule": Series("square", "ours", False, False),
    "fewer steps": Series("triangle", "theirs", False, True),
}


def trade_off_plot(canvas: Canvas, points: Sequence[Point], repeats: int) -> None:
    """Runs by their seconds and by the errors of their latents on a logarithmic axis; lower left is better."""
    left, top, right, bottom = box = 54, 50, canvas.width - 22, canvas.height - 44
    x = _seconds(points, left, right)
    errors = error_scale((point.error * 100 for point in points), bottom - BREAK, top)
    canvas.text(Text((12, 16), TITLE, "ink", 13))
    canvas.text(Text((12, 34), "error of the latent against the plain run", "muted", TICK))
    error_axis(canvas, errors, left, right)
    canvas.line([(left, bottom), (right, bottom)], "muted")
    canvas.text(Text((left - 5, bottom), "equal", "muted", TICK, "rm"))
    _seconds_axis(canvas, x, box, repeats)

    def at(point: Point) -> tuple[float, float]:
        return x(point.seconds), errors(point.error * 100) if point.error > 0 else bottom

    taken: list[Box] = [_better(canvas, box)]
    for name, series in SERIES.items():
        of_series = sorted((p for p in points if p.series == name and p.error > 0), key=lambda p: p.error)
        if series.joined and len(of_series) > 1:
            canvas.line([at(point) for point in of_series], series.colour, 1.2, dashed=not series.filled)
            taken += along([at(point) for point in of_series])
    for point in points:
        taken += _point(canvas, point, at(point), x)
    for point in points:
        canvas.text(placed(_labels(point, at(point)), taken, (left, top - 10, canvas.width, bottom + 8)))


def _seconds(points: Sequence[Point], left: float, right: float) -> Scale:
    """As wide as the runs are apart, so that they are not squeezed into a corner."""
    ends = [end for point in points for end in (point.seconds, *(point.spread or ()))]
    low, high = min(ends), max(ends)
    room = max(high - low, high * 0.1, 1e-6) * 0.08
    return Scale(max(low - room, 0), high + room, left, right)


def _seconds_axis(canvas: Canvas, x: Scale, box: Box, repeats: int) -> None:
    left, _, right, bottom = box
    for tick in round_ticks(x.low, x.high, about=6):
        canvas.line([(x(tick), bottom), (x(tick), bottom + 3)], "muted")
        canvas.text(Text((x(tick), bottom + 6), f"{figure(tick)} s", "muted", TICK, "ma"))
    spread = f"median of {repeats}, line from least to most" if repeats > 1 else "one run each, so times are rough"
    canvas.text(Text((right, bottom + 24), f"seconds of sampling ({spread})", "muted", TICK, "ra"))


def _better(canvas: Canvas, box: Box) -> Box:
    """The arrow to where runs are fast and like the plain one; answers what it covers."""
    left, _, _, bottom = box
    word = Text((left + 34, bottom - 40), "better", "muted", TICK)
    canvas.arrow((left + 30, bottom - 38), (left + 10, bottom - 10), "muted")
    canvas.text(word)
    return left + 6, bottom - 46, word.box[2], bottom - 8


def _point(canvas: Canvas, point: Point, at: tuple[float, float], x: Scale) -> list[Box]:
    """Draw a run's mark with its spread; answers what they cover."""
    series, covered = SERIES[point.series], along([at, at], MARK)
    if point.spread:
        ends = [x(end) for end in point.spread]
        canvas.line([(ends[0], at[1]), (ends[1], at[1])], series.colour, 1.2)
        covered += along([(ends[0], at[1]), (ends[1], at[1])])
        for end in ends:
            canvas.line([(end, at[1] - 3), (end, at[1] + 3)], series.colour, 1.2)
    canvas.mark(at, series.mark, series.colour, series.filled)
    return covered


def _labels(point: Point, at: tuple[float, float]) -> list[Text]:
    """A run's label on all sides of its mark: FRDiff's below their line first, and fewer steps above theirs."""
    colour = SERIES[point.series].colour
    above_first = point.series in ("fewer steps", "plain")
    places = [place for away in (MARK + 4, MARK + 15) for place in _sides(at, away, above_first)]
    return [Text(place, point.label, colour, LABEL, anchor) for place, anchor in places]


def _sides(at: tuple[float, float], away: float, above_first: bool) -> list[tuple[tuple[float, float], str]]:
    (x, y), slant = at, away / 2
    sides = [
        ((x - away, y + slant), "ra"), ((x, y + away), "ma"), ((x + away, y + slant), "la"), ((x + away, y), "lm"),
        ((x - away, y), "rm"), ((x + away, y - slant), "ls"), ((x, y - away), "ms"), ((x - away, y - slant), "rs"),
    ]  # fmt: skip
    return [sides[i] for i in (5, 6, 3, 7, 4, 2, 1, 0)] if above_first else sides
