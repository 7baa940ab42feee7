"""Pictures as the host's IMAGEs, and sheets of them, drawn with the host's own Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy
import torch
from PIL import Image, ImageDraw

from .canvas import PIXELS, THEMES, fitted, font

GAP = 8
# Words have a size that is still read where the sheet is shown small, as on a node.
WORDS_PER_CELL = 11
LARGEST_CELL = 512


def to_image(picture: Image.Image) -> torch.Tensor:
    """A picture as the host's IMAGE (1, H, W, 3) in 0..1."""
    return torch.from_numpy(numpy.asarray(picture.convert("RGB"), dtype=numpy.float32) / 255)[None]


def to_picture(image: torch.Tensor) -> Image.Image:
    """The first of the host's IMAGEs (B, H, W, C) as a picture."""
    pixels = (image[0, ..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(numpy.ascontiguousarray(pixels))


def grid(pictures: Sequence[Image.Image], labels: Sequence[str], theme: str = "light") -> Image.Image:
    """Pictures side by side in rows, each with its label under it."""
    colours = THEMES[theme]
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    first = pictures[0]
    scale = min(LARGEST_CELL / max(first.size), 1.0) if max(first.size) > LARGEST_CELL else max(
        1, 192 // max(first.size)
    )
    width, height = (max(round(side * scale), 1) for side in first.size)
    cell_width = max(width, 160)
    size = cell_width // WORDS_PER_CELL
    line = round(size * 1.3)
    below = 6 + line * max(label.count("\n") + 1 for label in labels)
    whole = columns * (cell_width + GAP) + GAP, rows * (height + below + GAP) + GAP
    sheet = Image.new("RGB", whole, colours["paper"])
    draw = ImageDraw.Draw(sheet)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = GAP + (i % columns) * (cell_width + GAP), GAP + (i // columns) * (height + below + GAP)
        sheet.paste(picture.resize((width, height)), (x, y))
        for number, words in enumerate(label.split("\n")):
            words = fitted(words, size / PIXELS, cell_width / PIXELS)
            draw.text((x, y + height + 3 + number * line), words, colours["ink"], font(size))
    return sheet
