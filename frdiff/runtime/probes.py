"""A few positions of a latent that stand for it: chosen, read, and found again in another."""

from __future__ import annotations

import math
from typing import TypeGuard

import numpy as np
import torch

from ..tensors import is_plain

# Positions of each row of a batch that are looked at: in every part of it, and few enough to cost nothing.
PROBES = 16
# The golden ratio spreads them over rows and columns of any size, without symmetry.
SPREAD = 0.6180339887
# Probes that are searched for at once, so that the search needs little memory.
CHUNK = 64
# Relative: another type's rounding moves an input by so much; factors up to the square root of the other are one.
ROUNDING, FELT = 5e-3, 1.1
TINY = 1e-30

# Places in a latent (B, C, ...): the row of the batch times the size of the rest, plus the place in the rest.
Positions = tuple[int, ...]
NOWHERE = -1


def is_latent(x: object) -> TypeGuard[torch.Tensor]:
    """Whether it is a latent (B, C, ...) of numbers, whose positions can be looked at."""
    return is_plain(x) and x.ndim > 1


def probes_of(shape: torch.Size, rows: int) -> Positions:
    """The positions to look at in a latent (B, C, ...) of this shape, for `rows` rows that go through its B again."""
    size = shape[2:].numel()
    count = min(PROBES, size)
    places = [int((i + (i + 1) * SPREAD % 1) * size / count) for i in range(count)]
    return tuple(row % shape[0] * size + place for row in range(rows) for place in places)


def indices_of(positions: Positions, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What picks the positions (P,) of a latent (B, C, ...), for each dimension but its channels."""
    sizes = x.shape[:1] + x.shape[2:]
    return torch.from_numpy(np.stack(np.unravel_index(positions, sizes))).to(x.device).unbind()


def taken(x: torch.Tensor, indices: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """What a latent (B, C, ...) is at P positions: (P, C)."""
    return x[(indices[0], slice(None), *indices[1:])]


def read(parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Copies on the CPU of some small tensors, of any shapes and types, in their own types, with one read."""
    device = parts[0].device
    values = torch.cat([part.detach().to(device).flatten() for part in parts]).cpu()
    cut = values.split([part.numel() for part in parts])
    return [part.view(whole.shape).to(whole.dtype) for part, whole in zip(cut, parts, strict=True)]


def scale_of(own: torch.Tensor, there: torch.Tensor) -> int | None:
    """How many times larger `own` (P, C) is than what lies `there` (P, C), in steps that are felt; None where it is not.

    Rounding to another type does not count. What is no number equals itself.
    """
    a, b = own.double().numpy(), there.to(own.dtype).double().numpy()
    if np.array_equal(a, b, equal_nan=True):
        return 0
    scale = float((a * b).sum() / max((b * b).sum(), TINY))
    if not scale > 0 or np.linalg.norm(a - scale * b) > ROUNDING * np.linalg.norm(a):
        return None
    return round(math.log(scale) / math.log(FELT))


def found(vectors: torch.Tensor, x: torch.Tensor) -> tuple[Positions, bool]:
    """Where in `x` (B, C, ...) the vectors (P, C) lie, first or NOWHERE, and whether one of them lies there alone."""
    if x.shape[1] != vectors.shape[1]:
        return (NOWHERE,) * len(vectors), False
    wanted, place_of = torch.unique(vectors, dim=0, return_inverse=True)
    channels = x.detach().to(vectors.dtype).movedim(1, 0).flatten(1)
    parts = [_matches(part.to(x.device), channels) for part in wanted.split(CHUNK)]
    counts, first = torch.cat(parts, dim=1).cpu()
    places = torch.where(counts > 0, first, NOWHERE)[place_of]
    return tuple(places.tolist()), bool((counts == 1).any())


def _matches(vectors: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    """How many of N positions (C, N) equal each of the vectors (P, C), and the first that does: (2, P)."""
    hits = torch.ones(len(vectors), channels.shape[1], dtype=torch.bool, device=channels.device)
    for of_vectors, of_positions in zip(vectors.unbind(1), channels, strict=True):
        hits &= of_vectors[:, None] == of_positions[None]
    # The first of several: torch says so of the maximum.
    return torch.stack([hits.sum(dim=1), hits.int().argmax(dim=1)])
