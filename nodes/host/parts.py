"""What a run is a part of, where it is sampled in several, as with a network for much noise and one for the rest."""

from __future__ import annotations

from typing import Any

import torch

from ...frdiff.tensors import is_plain


def parts_of(sigmas: torch.Tensor, noise: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The noise levels before (K,) and after (N,) those of a run, which the host's nodes cut out of one tensor.

    Others were sampled before where the latent comes with its noise, and others will be where noise is left over.
    """
    if not len(sigmas):
        return (), ()
    whole = _whole(sigmas)
    start = int(sigmas.storage_offset())
    end = start + len(sigmas) - 1
    arrives_noisy = is_plain(noise) and not noise.any()
    before = whole[: start + 1] if start and arrives_noisy else []
    after = whole[end:] if end < len(whole) - 1 and float(sigmas[-1]) > 0 else []
    return tuple(before) if _fall(before) else (), tuple(after) if _fall(after) else ()


def _whole(sigmas: torch.Tensor) -> list[float]:
    """All noise levels (N,) of the memory that a run's own are a part of."""
    if sigmas.ndim != 1 or sigmas.stride() != (1,):
        return sigmas.tolist()
    whole = torch.empty(0, dtype=sigmas.dtype, device=sigmas.device)
    return whole.set_(sigmas.untyped_storage()).tolist()


def _fall(levels: list[float]) -> bool:
    return all(a > b for a, b in zip(levels, levels[1:], strict=False))
