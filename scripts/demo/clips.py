"""The clips that the video model learns: emoji of the training pictures that move, the same way every time."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from .training_data import Dataset, to_pixels

FRAMES = 17
SIZE = 80
VARIANTS = 16
STYLE = "3d"
NAMES = """
grinning face, red heart, dog face, red apple, rocket, cat face, pizza, sun with face, star, ghost, frog, panda,
penguin, pig face, octopus, strawberry, doughnut, soccer ball, automobile, sailboat
"""
# How far a picture may lie from the middle, across its way.
PLACE = 0.1


@dataclass(frozen=True)
class Pose:
    """Where a picture lies in each frame: offsets from the middle (half a frame is 1), size and angle, each (F,)."""

    across: torch.Tensor
    down: torch.Tensor
    size: torch.Tensor
    angle: torch.Tensor


@dataclass(frozen=True)
class Clips:
    """Which picture moves how: rows of `sources` (N, 3, S, S) in -1..1, with prompt, motion and variant of each."""

    sources: torch.Tensor
    prompts: list[str]
    motions: list[str]
    variants: list[int]

    def words(self) -> list[str]:
        """Every word of every prompt, sorted."""
        return sorted({word for prompt in self.prompts for word in prompt.split()})


def _slide(time, way, phase, place):
    return Pose(way * (0.84 * time - 0.42), place, _still(time, 0.55), _still(time, 0.0))


def _bounce(time, way, phase, place):
    hop = (math.pi * (time + phase)).sin().abs()
    return Pose(place, 0.4 - 0.75 * hop, _still(time, 0.5), _still(time, 0.0))


def _turn(time, way, phase, place):
    return Pose(place, place, _still(time, 0.62), way * math.pi * time)


def _grow(time, way, phase, place):
    return Pose(place, place, 0.25 + 0.6 * time, _still(time, 0.0))


def _pulse(time, way, phase, place):
    return Pose(place, place, 0.58 + 0.14 * (2 * math.pi * (2 * time + phase)).sin(), _still(time, 0.0))


def _still(time: torch.Tensor, value: float) -> torch.Tensor:
    return torch.full_like(time, value)


MOTIONS: dict[str, Callable[..., Pose]] = {
    "slide": _slide, "bounce": _bounce, "turn": _turn, "grow": _grow, "pulse": _pulse,
}  # fmt: skip


def clip_names() -> list[str]:
    """The names of what moves."""
    return [name.strip() for name in NAMES.replace("\n", " ").split(",")]


def clips_of(data: Dataset, count: int | None = None) -> Clips:
    """Every name, or the first few, with every motion in every variant."""
    wanted = clip_names()[:count]
    rows = [[index for index, pair in enumerate(zip(data.names, data.styles, strict=True)) if pair == (name, STYLE)][0]
            for name in wanted]  # fmt: skip
    kinds = [(row, name, motion, variant) for row, name in zip(rows, wanted, strict=True) for motion in MOTIONS
             for variant in range(VARIANTS)]  # fmt: skip
    pictures = to_pixels(np.stack([data.pictures[row] for row in rows]))
    # Halved, because what moves is about half as large as its frame.
    halved = dict(zip(rows, functional.avg_pool2d(pictures, 2), strict=True))
    sources = torch.stack([halved[row] for row, *_ in kinds])
    prompts = [f"{name} {motion}".lower() for _, name, motion, _ in kinds]
    return Clips(sources, prompts, [kind[2] for kind in kinds], [kind[3] for kind in kinds])


def render(clips: Clips, rows: list[int]) -> torch.Tensor:
    """The clips (B, 3, F, SIZE, SIZE) in -1..1 of some rows, on white."""
    return torch.stack([_moved(clips.sources[row], pose(clips.motions[row], clips.variants[row])) for row in rows])


def pose(motion: str, variant: int) -> Pose:
    """The pose of one variant of a motion: the ways alternate, phase and place are drawn."""
    draw = torch.Generator().manual_seed(variant)
    phase, place = torch.rand(2, generator=draw).tolist()
    time = torch.linspace(0.0, 1.0, FRAMES)
    return MOTIONS[motion](time, 1 - 2 * (variant % 2), phase, _still(time, PLACE * (2 * place - 1)))


def _moved(source: torch.Tensor, at: Pose) -> torch.Tensor:
    cos, sin = at.angle.cos() / at.size, at.angle.sin() / at.size
    shift = -(cos * at.across + sin * at.down), -(cos * at.down - sin * at.across)
    maps = torch.stack([torch.stack([cos, sin, shift[0]], 1), torch.stack([-sin, cos, shift[1]], 1)], 1)
    grid = functional.affine_grid(maps, [FRAMES, 3, SIZE, SIZE], align_corners=False)
    # Beyond the picture it is white, which is one.
    moved = functional.grid_sample((source - 1).expand(FRAMES, -1, -1, -1), grid, align_corners=False) + 1
    return moved.transpose(0, 1)
