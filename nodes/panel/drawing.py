"""Pictures as the host's IMAGEs, and sheets of them, drawn with the host's own Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy
import torch
from PIL import Image, ImageDraw

from .canvas import THEMES, font

GAP, LINE = 8, 17
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
    below = 6 + LINE * max(label.count("\n") + 1 for label in labels)
    size = columns * (cell_width + GAP) + GAP, rows * (height + below + GAP) + GAP
    sheet = Image.new("RGB", size, colours["paper"])
    draw = ImageDraw.Draw(sheet)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = GAP + (i % columns) * (cell_width + GAP), GAP + (i // columns) * (height + below + GAP)
        sheet.paste(picture.resize((width, height)), (x, y))
        draw.multiline_text((x, y + height + 3), label, colours["ink"], font(12), spacing=3)
    return sheet
