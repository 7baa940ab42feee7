"""What plots are drawn on: a picture of the host's own Pillow, or an SVG that takes the page's colours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from xml.sax.saxutils import escape, quoteattr

from PIL import Image, ImageDraw, ImageFont

At = tuple[float, float]
Box = tuple[float, float, float, float]

# Colours by what they mean. `ours` and `theirs` differ in lightness, too, and never by colour alone.
THEMES = {
    "light": {
        "paper": "#ffffff", "ink": "#1b1b1b", "muted": "#646464", "faint": "#e2e2e2", "ours": "#1565b0",
        "theirs": "#b04a12",
    },
    "dark": {
        "paper": "#1d1d1f", "ink": "#ededed", "muted": "#a3a3a3", "faint": "#3b3b3e", "ours": "#74b5f5",
        "theirs": "#f2a36b",
    },
}  # fmt: skip
# A picture has so many pixels for each unit of a plot, so that a plot of 600 is 1200 wide.
PIXELS = 2
# Pillow draws without smooth edges: pictures are drawn this many times larger, and made smaller.
SMOOTH = 2
DRAWN = PIXELS * SMOOTH
# Height of a mark's half, in units.
MARK = 4.5
CORNERS = {"circle": 0, "triangle": 3, "square": 4}


@dataclass(frozen=True)
class Text:
    """Words with their place: `anchor` is Pillow's, horizontally l, m or r and vertically a, m or s."""

    at: At
    words: str
    colour: str = "ink"
    size: float = 11
    anchor: str = "lm"

    @cached_property
    def box(self) -> Box:
        """Where the words are: left, top, right, bottom."""
        width = text_width(self.words, self.size)
        left = self.at[0] - width * {"l": 0, "m": 0.5, "r": 1}[self.anchor[0]]
        top = self.at[1] - self.size * {"a": 0, "m": 0.5, "s": 1}[self.anchor[1]]
        return left, top, left + width, top + self.size


class Canvas(ABC):
    """Something to draw on, of a size in units; colours are names of a theme."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height

    @abstractmethod
    def line(self, points: Sequence[At], colour: str, width: float = 1, dashed: bool = False) -> None:
        """A line through points."""

    @abstractmethod
    def shape(self, points: Sequence[At], fill: str | None, outline: str | None) -> None:
        """A polygon."""

    @abstractmethod
    def circle(self, at: At, radius: float, fill: str | None, outline: str | None) -> None:
        """A circle."""

    @abstractmethod
    def text(self, text: Text) -> None:
        """Words."""

    def box(self, box: Box, fill: str | None, outline: str | None = None) -> None:
        """A rectangle."""
        left, top, right, bottom = box
        self.shape([(left, top), (right, top), (right, bottom), (left, bottom)], fill, outline)

    def mark(self, at: At, kind: str, colour: str, filled: bool) -> None:
        """A mark of a kind in CORNERS."""
        fill = colour if filled else "paper"
        if kind == "circle":
            self.circle(at, MARK, fill, colour)
            return
        x, y, r = *at, MARK
        triangle = [(x, y - r), (x + r, y + r * 0.8), (x - r, y + r * 0.8)]
        square = [(x - r * 0.9, y - r * 0.9), (x + r * 0.9, y - r * 0.9), (x + r * 0.9, y + r * 0.9),
                  (x - r * 0.9, y + r * 0.9)]  # fmt: skip
        self.shape(triangle if kind == "triangle" else square, fill, colour)

    def arrow(self, start: At, end: At, colour: str) -> None:
        """An arrow."""
        (x0, y0), (x1, y1) = start, end
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        self.line([start, (x1 - 4 * dx, y1 - 4 * dy)], colour, 1.5)
        base = x1 - 7 * dx, y1 - 7 * dy
        self.shape([end, (base[0] - 3 * dy, base[1] + 3 * dx), (base[0] + 3 * dy, base[1] - 3 * dx)], colour, None)


class Picture(Canvas):
    """A picture in the colours of a theme."""

    def __init__(self, width: float, height: float, theme: str) -> None:
        super().__init__(width, height)
        self._colours = THEMES[theme]
        self._large = Image.new("RGB", (round(width * DRAWN), round(height * DRAWN)), self._colours["paper"])
        self._draw = ImageDraw.Draw(self._large)

    @property
    def image(self) -> Image.Image:
        """What was drawn."""
        return self._large.resize((round(self.width * PIXELS), round(self.height * PIXELS)), Image.Resampling.LANCZOS)

    def line(self, points: Sequence[At], colour: str, width: float = 1, dashed: bool = False) -> None:
        for piece in _dashes(points) if dashed else [points]:
            self._draw.line([_pixel(at) for at in piece], self._colours[colour], round(width * DRAWN))

    def shape(self, points: Sequence[At], fill: str | None, outline: str | None) -> None:
        self._draw.polygon([_pixel(at) for at in points], self._named(fill), self._named(outline), DRAWN)

    def circle(self, at: At, radius: float, fill: str | None, outline: str | None) -> None:
        (x, y), r = _pixel(at), radius * DRAWN
        self._draw.ellipse((x - r, y - r, x + r, y + r), self._named(fill), self._named(outline), DRAWN)

    def text(self, text: Text) -> None:
        self._draw.text(_pixel(text.at), text.words, self._colours[text.colour], font(text.size * DRAWN), text.anchor)

    def _named(self, colour: str | None) -> str | None:
        return None if colour is None else self._colours[colour]


class Svg(Canvas):
    """The source of an SVG; its colours are the variables `--plot-ink` and so on of the page."""

    def __init__(self, width: float, height: float, title: str) -> None:
        super().__init__(width, height)
        self._title, self._parts = title, [""]

    @property
    def source(self) -> str:
        """The document."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f"aria-label={quoteattr(self._title)}>{''.join(self._parts)}</svg>"
        )

    def line(self, points: Sequence[At], colour: str, width: float = 1, dashed: bool = False) -> None:
        dashes = ' stroke-dasharray="3 3"' if dashed else ""
        self._parts.append(
            f'<polyline points="{_listed(points)}" fill="none" stroke="var(--plot-{colour})" '
            f'stroke-width="{width:g}"{dashes}/>'
        )

    def shape(self, points: Sequence[At], fill: str | None, outline: str | None) -> None:
        self._parts.append(f'<polygon points="{_listed(points)}" {_painted(fill, outline)}/>')

    def circle(self, at: At, radius: float, fill: str | None, outline: str | None) -> None:
        place = f'cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:g}"'
        self._parts.append(f"<circle {place} {_painted(fill, outline)}/>")

    def text(self, text: Text) -> None:
        anchor = {"l": "start", "m": "middle", "r": "end"}[text.anchor[0]]
        # From the place to the base line, for the capitals and digits that plots are full of.
        y = text.at[1] + text.size * {"a": 0.85, "m": 0.36, "s": -0.1}[text.anchor[1]]
        self._parts.append(
            f'<text x="{text.at[0]:.1f}" y="{y:.1f}" font-size="{text.size:g}" text-anchor="{anchor}" '
            f'fill="var(--plot-{text.colour})">{escape(text.words)}</text>'
        )


@lru_cache(maxsize=64)
def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The host's own font, of a size in pixels."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=1024)
def text_width(words: str, size: float) -> float:
    """How wide words are, in units; the page's font is a little wider than the host's."""
    return font(size * PIXELS).getlength(words) / PIXELS * 1.04


def fitted(words: str, size: float, width: float) -> str:
    """Words that are no wider than some units: what does not fit is left out."""
    if text_width(words, size) <= width:
        return words
    while words and text_width(f"{words}...", size) > width:
        words = words[:-1]
    return f"{words.rstrip(' ,.')}..."


def _pixel(at: At) -> At:
    return at[0] * DRAWN, at[1] * DRAWN


def _listed(points: Sequence[At]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _painted(fill: str | None, outline: str | None) -> str:
    fill, outline = ("none" if colour is None else f"var(--plot-{colour})" for colour in (fill, outline))
    return f'fill="{fill}" stroke="{outline}"'


def _dashes(points: Sequence[At], length: float = 3) -> list[list[At]]:
    """A line as pieces with gaps of their own length between them."""
    pieces: list[list[At]] = []
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        whole = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        for start in range(0, int(whole // length) + 1, 2):
            parts = [min(end * length / whole, 1) if whole else 0 for end in (start, start + 1)]
            pieces.append([(x0 + (x1 - x0) * part, y0 + (y1 - y0) * part) for part in parts])
    return pieces
