"""How like two videos are beyond their pictures one by one: flicker, the worst frame, and the paths of what moves."""

from __future__ import annotations

import torch

from ..typed import norm
from .metrics import psnr_of_each


def flicker(a: torch.Tensor, b: torch.Tensor) -> float:
    """Root mean square of how frame-to-frame changes differ, of clips (F, H, W, C) (docs/math.md, equation 6.8).

    In the units of the clips; 0 for a change that is the same in every frame.
    """
    return float((_changes(b) - _changes(a)).square().mean().sqrt())


def worst_frame(a: torch.Tensor, b: torch.Tensor) -> float:
    """Least PSNR in dB of the frames of clips (F, H, W, C) in 0..1, at most 100 (docs/math.md, equation 6.9)."""
    return float(psnr_of_each(a, b).min())


def path_error(a: torch.Tensor, b: torch.Tensor) -> float:
    """How far what moves in `b` is from where it moves in `a`, as a share of the frame (docs/math.md, equation 6.10).

    Both are clips (F, H, W, C). A change between frames counts as much as changes in `a`; 0 where nothing moves there.
    """
    energy = _changes(a).square().flatten(1).sum(dim=1).double()
    apart = norm(_path(b) - _path(a), dim=1)
    return float((energy * apart).sum() / energy.sum()) if energy.any() else 0.0


def _changes(clip: torch.Tensor) -> torch.Tensor:
    """The changes (F - 1, H, W, C) from frame to frame of a clip (F, H, W, C)."""
    return clip.float().diff(dim=0)


def _path(clip: torch.Tensor) -> torch.Tensor:
    """Where each change of a clip (F, H, W, C) is, (F - 1, 3): height, width, and how far it spreads."""
    height, width = clip.shape[1:3]
    rows, columns = (((torch.arange(side, device=clip.device) + 0.5) / side).double() for side in (height, width))
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    moments = torch.stack([row, column, row**2 + column**2], dim=-1).flatten(0, 1)
    return torch.stack([_place(change, moments) for change in _changes(clip)])


def _place(change: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    """The place and spread (3,) of a change (H, W, C), from the first two moments (H * W, 3) of each pixel's place.

    Where nothing changes every pixel counts the same.
    """
    weight = change.double().square().sum(dim=-1).flatten()
    share = weight / weight.sum() if weight.any() else torch.full_like(weight, 1 / len(weight))
    row, column, square = (share @ moments).unbind()
    return torch.stack([row, column, (square - row**2 - column**2).clamp(min=0).sqrt()])
