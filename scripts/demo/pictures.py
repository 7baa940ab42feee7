"""Compare the demo's pictures and lay them out on one sheet; runs in the host's Python.

Called by side_by_side.py with the folder and, as JSON, the models, the prompts and how many of them to show.
The pictures are named {model}_{prompt number}_{plain or frdiff}_{picture number}.png.
Writes sheet.png and prints the mean PSNR and SSIM of each model as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import kornia
import numpy
import torch
from PIL import Image, ImageDraw, ImageFont

SHOWN = 2
SCALE = 2
GAP = 8
LABEL = 24
PROMPT_WIDTH = 200
PSNR_LIMIT = 100.0


def main(folder: Path, layout: dict) -> dict[str, dict[str, float]]:
    """Write the sheet and return the likeness of each model's pictures."""
    prompts = range(1, len(layout["prompts"]) + 1)
    likeness = {model: mean_likeness([pair(folder, model, n) for n in prompts]) for model in layout["models"]}
    sheet(folder, layout).save(folder / "sheet.png")
    return likeness


def pair(folder: Path, model: str, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The plain and the FRDiff pictures of one prompt, each (B, 3, H, W) in 0..1."""
    plain, frdiff = (torch.stack([read(p) for p in files(folder, model, number, kind)]) for kind in ("plain", "frdiff"))
    return plain, frdiff


def files(folder: Path, model: str, number: int, kind: str) -> list[Path]:
    """The files of one prompt's pictures, in order."""
    return sorted(folder.glob(f"{model}_{number}_{kind}_*.png"))


def read(path: Path) -> torch.Tensor:
    """A picture (3, H, W) in 0..1."""
    pixels = numpy.asarray(Image.open(path).convert("RGB"), dtype=numpy.float32)
    return torch.from_numpy(pixels / 255).permute(2, 0, 1)


def mean_likeness(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
    """Mean over all pictures of PSNR in dB (at most 100, for equal pictures) and of SSIM (11 x 11 window)."""
    plain, frdiff = (torch.cat(side) for side in zip(*pairs, strict=True))
    error = (plain - frdiff).square().mean(dim=(1, 2, 3))
    psnr = (-10 * error.log10()).clamp(max=PSNR_LIMIT)
    ssim = kornia.metrics.ssim(plain, frdiff, window_size=11)
    return {"psnr": round(psnr.mean().item(), 2), "ssim": round(ssim.mean().item(), 4)}


def sheet(folder: Path, layout: dict) -> Image.Image:
    """Prompt, plain and FRDiff side by side, one row per prompt, one block per model."""
    shown = layout["prompts"][: layout["shown"]]
    rows = [(model, n, prompt) for model in layout["models"] for n, prompt in enumerate(shown, 1)]
    side = Image.open(files(folder, layout["models"][0], 1, "plain")[0]).width * SCALE
    block = SHOWN * (side + GAP) + GAP
    picture = Image.new("RGB", (PROMPT_WIDTH + 2 * block, LABEL + len(rows) * (side + GAP)), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    for column, title in enumerate(("plain KSampler", "FRDiff KSampler, same seeds")):
        draw.text((PROMPT_WIDTH + column * block, 3), title, "black", font)
    for row, (model, number, prompt) in enumerate(rows):
        top = LABEL + row * (side + GAP)
        draw.text((GAP, top + side // 2 - 20), f"{prompt}\n({model})", "black", font)
        for column, kind in enumerate(("plain", "frdiff")):
            left = PROMPT_WIDTH + column * block
            for index, path in enumerate(files(folder, model, number, kind)[:SHOWN]):
                picture.paste(_enlarged(path, side), (left + index * (side + GAP), top))
    return picture


def _enlarged(path: Path, side: int) -> Image.Image:
    return Image.open(path).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
