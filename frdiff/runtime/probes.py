"""A few positions of a latent that stand for it: chosen, read, and found again in another."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np
import torch

from ..tensors import is_plain
from ..typed import norm, pieces, unique_rows

# Positions of each row of a batch that are looked at: in every part of it, and few enough to cost nothing.
PROBES = 16
# The golden ratio spreads them over rows and columns of any size, without symmetry.
SPREAD = 0.6180339887
# Probes that are searched for at once, so that the search needs little memory.
CHUNK = 64
# Relative: another type's rounding moves an input by so much.
ROUNDING = 5e-3
TINY = 1e-30

# Places in a latent (B, C, ...): the row of the batch times the size of the rest, plus the place in the rest.
Positions = tuple[int, ...]
NOWHERE = -1
# What a host says that an input shows: a dimension of the latent, and which of its places; None where it says nothing.
Window = tuple[int, tuple[int, ...]] | None


def is_latent(x: object) -> TypeGuard[torch.Tensor]:
    """Whether it is a latent (B, C, ...) of numbers, whose positions can be looked at."""
    return is_plain(x) and x.ndim > 1


def probes_of(shape: torch.Size) -> Positions:
    """The positions to look at in a latent (B, C, ...) of this shape: the same in each row."""
    size = shape[2:].numel()
    count = min(PROBES, size)
    places = [int((i + (i + 1) * SPREAD % 1) * size / count) for i in range(count)]
    return tuple(row * size + place for row in range(shape[0]) for place in places)


def shown_by(window: Window, shape: torch.Size, of_latent: torch.Size) -> Positions:
    """The positions in a latent (B, C, ...) that the probes of an input (R, C, ...) stand for, by a window's account.

    Nothing where the input's shape is not the window's; its rows are the latent's, once for each condition.
    """
    if window is None:
        return ()
    dim, places = window
    if not 2 <= dim < len(of_latent) or not all(0 <= place < of_latent[dim] for place in places):
        return ()
    if shape[1:] != (*of_latent[1:dim], len(places), *of_latent[dim + 1 :]):
        return ()
    at = [np.array(each) for each in np.unravel_index(probes_of(shape), (shape[0], *shape[2:]))]
    at[0], at[dim - 1] = at[0] % of_latent[0], np.array(places)[at[dim - 1]]
    return tuple(map(int, np.ravel_multi_index(at, (of_latent[0], *of_latent[2:]))))


def samples_of(sizes: torch.Size) -> Positions:
    """The places to look at in each row, of these sizes, of what is no latent."""
    size = sizes.numel()
    return tuple(range(0, size, max(size // PROBES, 1) | 1))


def indices_of(positions: Positions, sizes: torch.Size, device: torch.device) -> tuple[torch.Tensor, ...]:
    """What picks the positions (P,), counted through all of the sizes, in each dimension."""
    return torch.tensor(np.stack(np.unravel_index(positions, sizes)), device=device).unbind()


def taken(x: torch.Tensor, indices: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """What a latent (B, C, ...) is at P positions: (P, C)."""
    return x[(indices[0], slice(None), *indices[1:])]


def sampled(tensor: torch.Tensor, indices: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Some numbers (N, M) of each row of a tensor (N, ...)."""
    return tensor[(slice(None), *indices)].float()


def read(parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Copies on the CPU of some small tensors, of any shapes and types, in their own types, with one read."""
    if not parts:
        return []
    device = parts[-1].device
    values = torch.cat([part.detach().to(device).flatten() for part in parts]).cpu()
    cut = pieces(values, [part.numel() for part in parts])
    return [part.view(whole.shape).to(whole.dtype) for part, whole in zip(cut, parts, strict=True)]


def scale_of(own: torch.Tensor, there: torch.Tensor) -> float | None:
    """How many times larger `own` (P, C) is than what lies `there` (P, C); None where it is something else.

    Rounding to another type does not count. What is no number equals itself.
    """
    if own.shape != there.shape:
        return None
    a, b = own.double(), there.to(own.dtype).double()
    if np.array_equal(a.numpy(), b.numpy(), equal_nan=True):
        return 1.0
    scale = _ratio(a, b)
    return scale if scale > 0 and norm(rest_of(a, b)) <= ROUNDING * norm(a) else None


def rest_of(own: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """What is left of `own` (P, C) without the multiple of what lies `there` (P, C) that is in it."""
    return own - max(_ratio(own, there), 0.0) * there


def _ratio(own: torch.Tensor, there: torch.Tensor) -> float:
    """The multiple of what lies `there` (P, C) that is in `own` (P, C), by least squares."""
    return float((own * there).sum() / there.square().sum().clamp(min=TINY))


def found(vectors: torch.Tensor, x: torch.Tensor) -> tuple[Positions, bool]:
    """Where in `x` (B, C, ...) the vectors (P, C) lie, first or NOWHERE, and whether one of them lies there alone."""
    if x.shape[1] != vectors.shape[1]:
        return (NOWHERE,) * len(vectors), False
    wanted, place_of = unique_rows(vectors)
    channels = x.detach().to(vectors.dtype).movedim(1, 0).flatten(1)
    parts = [_matches(part.to(x.device), channels) for part in pieces(wanted, CHUNK)]
    counts, first = torch.cat(parts, dim=1).cpu()
    places = torch.where(counts > 0, first, NOWHERE)[place_of]
    return tuple(map(int, places)), bool((counts == 1).any())


def _matches(vectors: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    """How many of N positions (C, N) equal each of the vectors (P, C), and the first that does: (2, P)."""
    hits = torch.ones(len(vectors), channels.shape[1], dtype=torch.bool, device=channels.device)
    for of_vectors, of_positions in zip(vectors.unbind(1), channels, strict=True):
        hits &= of_vectors[:, None] == of_positions[None]
    # The first of several: torch says so of the maximum.
    return torch.stack([hits.sum(dim=1), hits.int().argmax(dim=1)])
