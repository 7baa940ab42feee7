"""What FRDiff Compare shows: two results as pictures of one kind, and a badge that can be shared."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from comfy_api.latest import io, ui
from PIL import Image, ImageDraw

from ...frdiff.reporting.motion import flicker, path_error, worst_frame
from ...frdiff.reporting.report import RunReport, faster
from ...frdiff.reporting.saving import seconds_before
from .canvas import THEMES, fitted, font
from .drawing import to_picture

UNKNOWN = float("nan")
# Fewer pictures are not taken for a video where nothing says so: the shortest one that two latent frames make.
LEAST_FRAMES = 5
# Of a batch or a video: more would take long to save, and no one looks at them one by one.
SHOWN_AT_MOST = 64
# Of PNG files: the host's own for its previews.
FAST = 1
BADGE_SIDE, BADGE_LARGEST, EDGE, HEAD, FOOT = 320, 768, 24, 64, 60


@dataclass(frozen=True)
class MotionFigures:
    """How like two videos are beyond their pictures one by one; NaN where it is not known."""

    worst_frame: float
    flicker: float
    path_error: float


def motion_of(a: torch.Tensor, b: torch.Tensor, clips: int | None, pictures: bool) -> MotionFigures | None:
    """The figures of `clips` videos (clips * F, H, W, C), the mean over them; None where there is no video.

    Where the number of videos is not known, many pictures are frames of one. Only `pictures`, which are in 0..1,
    have a worst frame in dB.
    """
    frames = len(a) // (clips or 1)
    if frames < (LEAST_FRAMES if clips is None else 2):
        return None
    pairs = list(zip(a.split(frames), b.split(frames), strict=True))
    worst = min(worst_frame(*pair) for pair in pairs) if pictures else UNKNOWN
    return MotionFigures(worst, fmean(flicker(*pair) for pair in pairs), fmean(path_error(*pair) for pair in pairs))


@dataclass(frozen=True)
class Figures:
    """How like two results are; NaN where it is not known. Of a latent of several parts the largest error counts."""

    psnr: float
    ssim: float
    latent_error: float
    motion: MotionFigures | None = None
    errors_of_parts: tuple[float, ...] = ()

    def words(self) -> str:
        """The known figures in words."""
        motion = self.motion or MotionFigures(UNKNOWN, UNKNOWN, UNKNOWN)
        parts = [
            (self.psnr, f"PSNR {self.psnr:.2f} dB"), (self.ssim, f"SSIM {self.ssim:.4f}"),
            (self.latent_error, self._error_words()),
            (motion.worst_frame, f"worst frame {motion.worst_frame:.2f} dB"),
            (motion.flicker, f"flicker {motion.flicker:.4f}"),
            (motion.path_error, f"paths {motion.path_error * 100:.1f} % of the frame apart"),
        ]  # fmt: skip
        # NaN alone differs from itself.
        return ", ".join(words for value, words in parts if value == value)

    def _error_words(self) -> str:
        each = [f"{error * 100:.2f} %" for error in self.errors_of_parts or (self.latent_error,)]
        return "latent error " + each[0] if len(each) == 1 else f"latent errors {', '.join(each)} of the parts"


def colours_of_latents(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (B, C, ..., H, W), or (B, C, L), as pictures (B * ..., H, W, 3) in 0..1 in the same false colours.

    The colours are the three directions in which the channels of `a` vary most.
    """
    # A run that went wrong is compared, too.
    pixels = [latent_pixels(latent).nan_to_num() for latent in (a, b)]
    known = pixels[0].flatten(0, -2)
    centred = known - known.mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)
    axes = directions[:, -min(3, directions.shape[1]) :].flip(1)
    # The sign of a direction is a matter of the machine.
    axes = axes * torch.where(axes.sum(0) < 0, -1.0, 1.0)
    spread = (centred @ axes).std(0, unbiased=False).clamp(min=1e-6)

    def coloured(one: torch.Tensor) -> torch.Tensor:
        shown = ((one - known.mean(0)) @ axes / (4 * spread) + 0.5).clamp(0, 1)
        return shown if shown.shape[-1] == 3 else shown[..., :1].expand(*shown.shape[:-1], 3)

    return coloured(pixels[0]), coloured(pixels[1])


def latent_pixels(latent: torch.Tensor) -> torch.Tensor:
    """A latent (B, C, ..., H, W), or (B, C, L), as (B * ..., H, W, C)."""
    latent = latent.unsqueeze(-2) if latent.ndim == 3 else latent
    return latent.float().movedim(1, -1).flatten(0, -4)


def picked(frames: int) -> list[int]:
    """The frames that are shown, evenly over all of them."""
    if frames <= SHOWN_AT_MOST:
        return list(range(frames))
    return [round(i * (frames - 1) / (SHOWN_AT_MOST - 1)) for i in range(SHOWN_AT_MOST)]


def shown(
    a: torch.Tensor, b: torch.Tensor, kind: str, figures: Figures, amplify: float, badge: torch.Tensor
) -> dict[str, Any]:
    """What the node's slider needs: the files of both sides (B, H, W, 3), which frames they are, and words."""
    frames = picked(len(a))
    files = {"a": _saved(a[frames], "frdiff_a"), "b": _saved(b[frames], "frdiff_b")}
    return {
        **files, "frames": frames, "total": len(a), "kind": kind, "size": [a.shape[2], a.shape[1]],
        "words": figures.words(), "amplify": amplify, "badge": _saved(badge, "frdiff_badge")[0],
    }  # fmt: skip


def _saved(images: torch.Tensor, name: str) -> list[Any]:
    # Without the node: what is shared must not carry the workflow, and what is only shown need not.
    # Under a name of its own: a page may still have a picture of that name from before ComfyUI was started again.
    own = f"{name}_{uuid.uuid4().hex[:8]}"
    return list(ui.ImageSaveHelper.save_images(images[..., :3], own, io.FolderType.temp, None, FAST))


def seconds_words(before: RunReport | None, after: RunReport | None) -> tuple[str, str, str]:
    """What a badge says of the time: a headline, and a line under each picture; empty where nothing is known."""
    plain, fast = (f"{run.seconds:.2f} s" if run else "" for run in (before, after))
    known = seconds_before(after, before) if after else None
    if not after or not known:
        return "", plain, fast
    estimated = "" if known.measured else "about "
    return faster(known.seconds / after.seconds), f"{estimated}{known.seconds:.2f} s", fast


def badge(
    a: torch.Tensor, b: torch.Tensor, figures: Figures, before: RunReport | None, after: RunReport | None, title: str
) -> Image.Image:
    """One picture of a run: before and after with their seconds, how like they are, the steps, and the model."""
    pictures = [_resized(to_picture(one)) for one in (a, b)]
    headline, *seconds = seconds_words(before, after)
    report = after or before
    colours, (width, height) = THEMES["light"], pictures[0].size
    sheet = Image.new("RGB", (2 * width + 3 * EDGE, height + HEAD + 2 * FOOT), colours["paper"])
    draw = ImageDraw.Draw(sheet)
    model = title or (report.model if report else "")
    _line(draw, (EDGE, 22), ", ".join(part for part in (model, headline) if part) or "FRDiff Compare", 28, sheet.width)
    names = ("before", "after, with FRDiff" if after else "after")
    for i, (picture, name, time) in enumerate(zip(pictures, names, seconds, strict=True)):
        left = EDGE + i * (width + EDGE)
        sheet.paste(picture, (left, HEAD))
        _line(draw, (left, HEAD + height + 10), f"{name}: {time}" if time else name, 22, left + width + EDGE)
    words = [figures.words(), _computed(after), "FRDiff for ComfyUI"]
    foot = ", ".join(word for word in words if word)
    _line(draw, (EDGE, HEAD + height + FOOT + 8), foot, 15, sheet.width, colours["muted"])
    return sheet


def _computed(report: RunReport | None) -> str:
    return f"{report.counts['full']} of {sum(report.counts.values())} steps computed" if report else ""


def _resized(picture: Image.Image) -> Image.Image:
    """Not so small that nothing is seen, and not so large that nobody shares it."""
    least, most = min(picture.size), max(picture.size)
    scale = min(max(BADGE_SIDE / least, 1), BADGE_LARGEST / most)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _line(
    draw: ImageDraw.ImageDraw, at: Sequence[float], words: str, size: float, right: float, colour: str | None = None
) -> None:
    """Words in pixels, cut where they would reach the edge."""
    draw.text(
        (at[0], at[1]), fitted(words, size / 2, (right - at[0] - EDGE) / 2), colour or THEMES["light"]["ink"],
        font(size),
    )  # fmt: skip
