"""What a run is a part of, where it is sampled in several, as with a network for much noise and one for the rest."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch

from ...frdiff.tensors import is_plain
from ...frdiff.typed import norm

Levels = tuple[float, ...]
# Of latents that were left with noise: so many are known again, by so many of their elements, if these are as near as
# the host's half precision leaves them.
KEPT, ELEMENTS, NEAR = 16, 64, 5e-3


@dataclass(frozen=True)
class Cut:
    """A run's noise levels `levels[start : end + 1]` among those that the host's nodes cut them out of.

    `begin` is where sampling began: levels before it were cut off and are sampled by nobody, as with a denoise below 1.
    `whole` is a name that all parts of a run have in common.
    """

    levels: Levels
    begin: int
    start: int
    end: int
    whole: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def before(self) -> Levels:
        """The noise levels of what was sampled before, with the one that the run starts from; empty where it begins."""
        return _falling(self.levels[self.begin : self.start + 1])

    @property
    def after(self) -> Levels:
        """The noise levels of what is sampled after it, where it leaves noise."""
        return _falling(self.levels[self.end :]) if self.leaves_noise else ()

    @property
    def leaves_noise(self) -> bool:
        """Whether there are levels after the run, and noise to take away on them."""
        return self.end < len(self.levels) - 1 and self.levels[self.end] > 0


def cut_of(sigmas: torch.Tensor, begin: int | None = None) -> Cut:
    """The cut of a run's noise levels (N,); `begin` is where the whole begins, None for the run's own start."""
    if len(sigmas) < 2 or sigmas.stride() != (1,):
        return Cut(tuple(sigmas.tolist()), 0, 0, max(len(sigmas) - 1, 0))
    start = int(sigmas.storage_offset())
    return Cut(tuple(_whole(sigmas)), start if begin is None else begin, start, start + len(sigmas) - 1)


class Parts:
    """Knows a run that goes on from another by the latent that this one has left: nothing else says what was before."""

    def __init__(self) -> None:
        self._left: deque[tuple[Cut, torch.Tensor]] = deque(maxlen=KEPT)

    def cut_of(self, sigmas: torch.Tensor, noise: Any, latent: Any) -> Cut:
        """The cut of a run that starts at noise levels (N,) from `latent` (B, C, ...) with `noise` added to it."""
        cut = cut_of(sigmas)
        if not (cut.start and is_plain(noise) and is_plain(latent)) or noise.any():
            return cut
        elements = _elements(latent)
        before = (left for left, known in reversed(self._left) if _goes_on(cut, elements, left, known))
        first = next(before, cut)
        return replace(cut, begin=first.begin, whole=first.whole)

    def left(self, cut: Cut, latent: Any) -> None:
        """Note the latent (B, C, ...) that a run ended with."""
        if cut.leaves_noise and is_plain(latent):
            self._left.append((cut, _elements(latent)))


def _goes_on(cut: Cut, elements: torch.Tensor, left: Cut, known: torch.Tensor) -> bool:
    if left.end != cut.start or len(left.levels) != len(cut.levels) or known.shape != elements.shape:
        return False
    return bool(norm(elements - known) <= NEAR * norm(known))


def _elements(latent: torch.Tensor) -> torch.Tensor:
    """Some elements of a latent, evenly over all of it."""
    every = max(latent.numel() // ELEMENTS, 1) | 1
    return latent.detach().reshape(-1)[::every].float().cpu()


def _whole(sigmas: torch.Tensor) -> list[float]:
    """All noise levels (N,) of the memory that a run's own are a part of."""
    whole = torch.empty(0, dtype=sigmas.dtype, device=sigmas.device)
    return whole.set_(sigmas.untyped_storage()).tolist()


def _falling(levels: Levels) -> Levels:
    """Noise levels that go down in one or more steps; else none, as they are not those of a run."""
    return levels if len(levels) > 1 and all(a > b for a, b in pairwise(levels)) else ()
