"""The chart of the benchmark at usual settings: for each the dial beside as many plain steps, as an SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MODELS = {"unet": "Demo UNet", "dit": "Demo DiT", "rough": "Rough model"}
WIDTH, TOP, LINE, LEFT, RIGHT, FOOT = 900, 84, 19, 330, 70, 50
# Decibels between two lines of the grid.
STEP = 5
INK, MUTED, FAINT, PAPER, OURS, THEIRS = "#1b1b1b", "#646464", "#e2e2e2", "#ffffff", "#1565b0", "#b04a12"
# The same on a dark page.
DARK = dict(zip(
    (INK, MUTED, FAINT, PAPER, OURS, THEIRS), ("#ededed", "#a3a3a3", "#3b3b3e", "#1d1d1f", "#74b5f5", "#f2a36b"),
    strict=True,
))  # fmt: skip
FONT = "Inter, 'Segoe UI', Helvetica, Arial, sans-serif"
SAID = "PSNR to the plain picture of the same seed, in dB: further right is nearer to it"
HOW = (
    "The same number of network calls. Means over {pairs} pictures; "
    "the number is the gain in dB, in the triangles' colour where it is lost."
)


@dataclass(frozen=True)
class Row:
    """A setting, and the PSNR in dB of as many plain steps and of the dial; `better` is the share of pictures."""

    model: str
    sampler: str
    levels: str
    steps: int
    cfg: int
    fewer: float
    dial: float
    better: float

    @property
    def gain(self) -> float:
        """What the dial is nearer to the plain picture, in dB."""
        return self.dial - self.fewer

    @property
    def setting(self) -> str:
        """The setting in words, without its model."""
        return f"{self.sampler} {self.levels}, {self.steps} steps, cfg {self.cfg}"


def chart(found: Sequence[Row], pairs: int) -> str:
    """An SVG with a line for each row, the best gain first in each model; each is a mean over `pairs` pictures."""
    ends = [value for row in found for value in (row.fewer, row.dial)]
    axis = Axis(STEP * int(min(ends) // STEP), STEP * (int(max(ends) // STEP) + 1))
    height = TOP + LINE * (len(found) + len(MODELS)) + FOOT
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{FONT}">',
        f"<title>{summary(found)}</title>",
        f"<style>@media (prefers-color-scheme: dark) {{ {_dark()} }}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
        *_head(found, pairs), *_grid(axis, height - FOOT + 6), *_body(found, axis),
        _text(LEFT, height - 10, SAID, 12, MUTED),
        "</svg>\n",
    ]  # fmt: skip
    return "\n".join(lines)


def summary(found: Sequence[Row]) -> str:
    """What the chart shows, in a sentence."""
    won = sum(row.gain > 0 for row in found)
    said = f"nearer to the plain picture than fewer steps in {won} of {len(found)} settings"
    return f"At half the network calls FRDiff is {said}"


def _dark() -> str:
    return " ".join(
        f'[{name}="{light}"] {{ {name}: {dark} }}' for light, dark in DARK.items() for name in ("fill", "stroke")
    )


@dataclass(frozen=True)
class Axis:
    """The ends of the axis in dB, and where a value is."""

    low: int
    high: int

    def at(self, value: float) -> float:
        """The place of a value, in pixels from the left."""
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.low) / (self.high - self.low)


def _head(found: Sequence[Row], pairs: int) -> Iterator[str]:
    yield _text(16, 28, summary(found), 16, INK, "font-weight=\"bold\"")
    yield _circle(22, 49, OURS)
    yield _text(34, 54, "FRDiff at 2.0", 13, INK)
    yield _triangle(140, 49, THEIRS)
    yield _text(152, 54, "ComfyUI's own sampler with as many steps as FRDiff computed", 13, INK)
    yield _text(16, 76, HOW.format(pairs=pairs), 12, MUTED)


def _grid(axis: Axis, bottom: int) -> Iterator[str]:
    for value in range(axis.low, axis.high + 1, STEP):
        x = f"{axis.at(value):.1f}"
        yield f'<line x1="{x}" x2="{x}" y1="{TOP + 4}" y2="{bottom}" stroke="{FAINT}"/>'
        yield _text(axis.at(value), bottom + 14, str(value), 11, MUTED, 'text-anchor="middle"')


def _body(found: Sequence[Row], axis: Axis) -> Iterator[str]:
    y = TOP
    for model, name in MODELS.items():
        y += LINE
        yield _text(16, y, name, 13, INK, "font-weight=\"bold\"")
        for row in sorted((row for row in found if row.model == model), key=lambda row: -row.gain):
            y += LINE
            yield from _row(row, y, axis)


def _row(row: Row, y: int, axis: Axis) -> Iterator[str]:
    ours, theirs, colour = axis.at(row.dial), axis.at(row.fewer), OURS if row.gain > 0 else THEIRS
    yield _text(LEFT - 14, y, row.setting, 12, INK, 'text-anchor="end"')
    yield f'<line x1="{ours:.1f}" x2="{theirs:.1f}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>'
    yield _triangle(theirs, y - 4, THEIRS)
    yield _circle(ours, y - 4, OURS)
    yield _text(max(ours, theirs) + 10, y, f"{row.gain:+.1f}", 12, colour, "font-weight=\"bold\"")


def _text(x: float, y: float, words: str, size: int, colour: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" fill="{colour}" {more}>{words}</text>'.replace(" >", ">")


def _circle(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{colour}"/>'


def _triangle(x: float, y: float, colour: str) -> str:
    return f'<path d="M{x - 5:.1f} {y + 4}h10l-5 -9z" fill="{colour}"/>'
