"""Compare the demo's pictures and lay them out on one sheet; runs in the host's Python.

Called by side_by_side.py with the folder and, as JSON, the settings, their runs with captions, the prompts and how many
of these to show. The pictures are named {setting}_{prompt number}_{run}_{picture number}.png.
Writes sheet.png, and readme.jpg with a part of it, and prints each run's mean PSNR and SSIM against the plain one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import kornia
import numpy
import torch
from PIL import Image, ImageDraw, ImageFont

SIDE = 232
GAP = 8
HEAD, TITLE = 42, 34
PROMPT_WIDTH = 128
PSNR_LIMIT = 100.0
PLAIN = "plain"
# In the README: one row for each setting, of pictures that are easy to tell apart.
README_PROMPTS = 1


def main(folder: Path, layout: dict) -> dict[str, dict[str, dict[str, float]]]:
    """Write the sheets and return the likeness of each run's pictures, by setting."""
    numbers = range(1, len(layout["prompts"]) + 1)
    likeness = {
        name: {run: mean_likeness([pair(folder, name, n, run) for n in numbers]) for run in runs if run != PLAIN}
        for name, runs in layout["runs"].items()
    }
    sheet(folder, layout, likeness, layout["shown"]).save(folder / "sheet.png")
    sheet(folder, layout, likeness, README_PROMPTS).save(folder / "readme.jpg", quality=88)
    return likeness


def pair(folder: Path, setting: str, number: int, run: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The plain pictures and those of a run, of one prompt, each (B, 3, H, W) in 0..1."""
    plain, other = (torch.stack([read(p) for p in files(folder, setting, number, kind)]) for kind in (PLAIN, run))
    return plain, other


def files(folder: Path, setting: str, number: int, run: str) -> list[Path]:
    """The files of one prompt's pictures, in order."""
    return sorted(folder.glob(f"{setting}_{number}_{run}_[0-9]*.png"))


def read(path: Path) -> torch.Tensor:
    """A picture (3, H, W) in 0..1."""
    pixels = numpy.asarray(Image.open(path).convert("RGB"), dtype=numpy.float32)
    return torch.from_numpy(pixels / 255).permute(2, 0, 1)


def mean_likeness(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
    """Mean over all pictures of PSNR in dB (at most 100, for equal pictures) and of SSIM (11 x 11 window)."""
    plain, other = (torch.cat(side) for side in zip(*pairs, strict=True))
    error = (plain - other).square().mean(dim=(1, 2, 3))
    psnr = (-10 * error.log10()).clamp(max=PSNR_LIMIT)
    ssim = kornia.metrics.ssim(plain, other, window_size=11)
    return {"psnr": round(psnr.mean().item(), 2), "ssim": round(ssim.mean().item(), 4)}


def sheet(folder: Path, layout: dict, likeness: dict, prompts: int) -> Image.Image:
    """A block for each setting: the runs side by side, and one row for each prompt."""
    runs = max(len(runs) for runs in layout["runs"].values())
    block = TITLE + HEAD + prompts * (SIDE + GAP)
    size = PROMPT_WIDTH + runs * (SIDE + GAP), len(layout["runs"]) * block + GAP
    picture = Image.new("RGB", size, "white")
    for i, name in enumerate(layout["runs"]):
        _block(picture, i * block, folder, layout, likeness[name], name, prompts)
    return picture


def _block(
    picture: Image.Image, top: int, folder: Path, layout: dict, likeness: dict, name: str, prompts: int
) -> None:
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, top + 8), layout["settings"][name], "black", ImageFont.load_default(18))
    for column, (run, caption) in enumerate(layout["runs"][name].items()):
        left = PROMPT_WIDTH + column * (SIDE + GAP)
        like = f"SSIM {likeness[run]['ssim']:.3f}" if run in likeness else "to compare with"
        draw.text((left, top + TITLE), f"{caption}\n{like}", "black", ImageFont.load_default(14), spacing=2)
        for row, prompt in enumerate(layout["prompts"][:prompts]):
            y = top + TITLE + HEAD + row * (SIDE + GAP)
            draw.text((GAP, y + SIDE // 2 - 10), prompt.replace(", ", ",\n"), "black", ImageFont.load_default(14))
            picture.paste(_enlarged(files(folder, name, row + 1, run)[0], SIDE), (left, y))


def _enlarged(path: Path, side: int) -> Image.Image:
    return Image.open(path).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
