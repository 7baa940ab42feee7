"""The picture of what the dial does to a clip: frames of it and their differences. Loaded as a module of the pack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from bench.methods import Case, dial, fewer_steps
from bench.usual_settings import EMPTY_LATENTS
from setup.in_process import DemoModel

from ...frdiff.reporting.metrics import psnr
from ...nodes.panel.canvas import THEMES, font
from ...nodes.panel.drawing import to_picture
from ..bench.video import CFG, SCHEDULER, drawn, shifted

# The first clip of the draw that the figures beside it are measured on.
DRAW = "report-4"
STEPS, SHIFT, SAMPLER = 20, 8.0, "euler"
DIALS = (1.5, 2.0, 3.0)
SHOWN = (0, 4, 8, 12, 16)
AMPLIFY = 5
GAP, WORDS, HEAD, WORDS_SIZE = 4, 112, 42, 13
COLOURS = 192


def draw(host: Any, path: Path) -> None:
    """Write the picture of a clip, plain, at each dial, and with as many plain steps."""
    group, demo = drawn(DRAW, 1)[0], DemoModel(host, "video")
    case = Case(
        host, {}, shifted(host, demo.model, SHIFT), demo.encode(""), torch.zeros(1, *EMPTY_LATENTS["video"]), STEPS,
        SAMPLER, CFG, SCHEDULER,
    )  # fmt: skip
    rows = [(words, demo.vae.decode(latent)[0]) for words, latent in clips(case, group.seed, demo, group.prompts[0])]
    path.parent.mkdir(exist_ok=True)
    sheet(rows, f"{group.prompts[0]}, {STEPS} steps").quantize(COLOURS).save(path, optimize=True)


def clips(case: Case, seed: int, demo: DemoModel, prompt: str) -> list[tuple[str, torch.Tensor]]:
    """The latents (1, C, T, H, W) of a clip with words of how each was made."""
    positive = demo.encode(prompt)

    def run(make: Callable[[Case], Any]) -> tuple[torch.Tensor, Any]:
        with torch.inference_mode():
            return make(case)(seed, positive)

    made = [(f"plain\n{STEPS} steps", run(fewer_steps(1))[0])]
    for speedup in DIALS:
        latent, report = run(dial(speedup))
        computed = report.counts["full"]
        made.append((f"FRDiff at {speedup:g}\n{computed} computed", latent))
        if speedup != DIALS[0]:
            made.append((f"plain\n{computed} steps", run(fewer_steps(computed / STEPS))[0]))
    return made


def sheet(rows: Sequence[tuple[str, torch.Tensor]], title: str) -> Image.Image:
    """Each clip (F, H, W, 3) as a row of frames, and of their differences to the first clip's, with its words."""
    (_, plain), (side, columns) = rows[0], (rows[0][1].shape[1], len(SHOWN))
    width = WORDS + 2 * columns * (side + GAP) + GAP
    paper = Image.new("RGB", (width, HEAD + len(rows) * (side + GAP)), THEMES["light"]["paper"])
    pen, ink = ImageDraw.Draw(paper), THEMES["light"]["ink"]
    right = WORDS + columns * (side + GAP) + GAP
    heads = ((GAP, 3), title), ((WORDS, 22), "frames"), ((right, 22), f"difference to plain, x {AMPLIFY}")
    for place, words in heads:
        pen.text(place, words, ink, font(WORDS_SIZE))
    for number, (words, clip) in enumerate(rows):
        y = HEAD + number * (side + GAP)
        told = words if clip is plain else f"{words}\n{psnr(plain, clip):.1f} dB"
        pen.multiline_text((GAP, y + 8), told, ink, font(WORDS_SIZE), spacing=5)
        apart = (1 - AMPLIFY * (clip - plain).abs()).clamp(0, 1)
        for column, frame in enumerate(SHOWN):
            for left, shown in ((WORDS, clip), (right, apart)):
                x = left + column * (side + GAP)
                paper.paste(to_picture(shown[frame : frame + 1]), (x, y))
                # Clips are as white as the paper.
                pen.rectangle((x - 1, y - 1, x + side, y + side), outline=THEMES["light"]["faint"])
    return paper
