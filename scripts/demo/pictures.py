"""Compare the demo's pictures and lay them out on one sheet; runs in the host's Python.

Called by side_by_side.py with the folder and, as JSON, the settings, their runs with captions, the prompts, how many
of these to show and which settings make clips. The pictures are named {setting}_{prompt number}_{run}_{picture
number}.png. Writes sheet.png, readme.jpg with a part of it, and of each clip {setting}_{prompt number}.webp, and prints
each run's mean likeness to the plain one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean

import kornia
import numpy
import torch
from PIL import Image, ImageDraw, ImageFont

sys.path.append(str(Path(__file__).resolve().parents[2]))
from frdiff.reporting.metrics import psnr  # noqa: E402  # pyright: ignore[reportMissingImports]
from frdiff.reporting.motion import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    flicker,
    path_error,
    worst_frame,
)

SIDE = 232
GAP = 8
HEAD, TITLE = 42, 34
PROMPT_WIDTH = 128
FRAME_MS = 120
PLAIN = "plain"
# In the README: one row for each setting, of pictures that are easy to tell apart.
README_PROMPTS = 1


def main(folder: Path, layout: dict) -> dict[str, dict[str, dict[str, float]]]:
    """Write the sheets and return the likeness of each run's pictures, by setting."""
    likeness = {
        name: {run: _likeness(folder, layout, name, run) for run in runs if run != PLAIN}
        for name, runs in layout["runs"].items()
    }
    for name in layout["animated"]:
        for number in range(1, len(layout["prompts"][name]) + 1):
            animate(folder, layout, name, number)
    sheet(folder, layout, likeness, layout["shown"]).save(folder / "sheet.png")
    sheet(folder, layout, likeness, README_PROMPTS).save(folder / "readme.jpg", quality=88)
    return likeness


def _likeness(folder: Path, layout: dict, name: str, run: str) -> dict[str, float]:
    pairs = [pair(folder, name, number + 1, run) for number in range(len(layout["prompts"][name]))]
    return {**mean_likeness(pairs), **(mean_motion(pairs) if name in layout["animated"] else {})}


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
    ssim = kornia.metrics.ssim(plain, other, window_size=11)
    return {"psnr": round(psnr(plain, other), 2), "ssim": round(ssim.mean().item(), 4)}


def mean_motion(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
    """Mean over clips (F, 3, H, W) of flicker and of how far the paths are apart, and the worst frame of all."""
    clips = [(plain.movedim(1, -1), other.movedim(1, -1)) for plain, other in pairs]
    return {
        "flicker": round(fmean(flicker(*pair) for pair in clips), 5),
        "path_error": round(fmean(path_error(*pair) for pair in clips), 4),
        "worst_frame": round(min(worst_frame(*pair) for pair in clips), 2),
    }


def animate(folder: Path, layout: dict, name: str, number: int) -> None:
    """Write the runs of one clip side by side, as an animation."""
    runs = layout["runs"][name]
    frames = []
    for together in zip(*(files(folder, name, number, run) for run in runs), strict=True):
        frame = Image.new("RGB", (len(runs) * (SIDE + GAP) - GAP, HEAD + SIDE), "white")
        draw = ImageDraw.Draw(frame)
        for column, (path, caption) in enumerate(zip(together, runs.values(), strict=True)):
            draw.text((column * (SIDE + GAP) + 4, 4), caption, "black", ImageFont.load_default(13))
            frame.paste(_enlarged(path, SIDE), (column * (SIDE + GAP), HEAD))
        frames.append(frame)
    target = folder / f"{name}_{number}.webp"
    frames[0].save(target, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0, quality=85)


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
        for row, prompt in enumerate(layout["prompts"][name][:prompts]):
            y = top + TITLE + HEAD + row * (SIDE + GAP)
            draw.text((GAP, y + SIDE // 2 - 10), prompt.replace(", ", ",\n"), "black", ImageFont.load_default(14))
            made = files(folder, name, row + 1, run)
            # Of a clip the middle: many begin alike.
            shown = made[len(made) // 2 if name in layout["animated"] else 0]
            picture.paste(_enlarged(shown, SIDE), (left, y))


def _enlarged(path: Path, side: int) -> Image.Image:
    return Image.open(path).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
