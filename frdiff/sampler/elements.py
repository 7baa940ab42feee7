"""A few elements of the latents that pass by, always the same, and read from the device in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import torch

from ..tensors import is_plain

# Enough to tell noise from rounding, few enough to cost nothing.
SAMPLES = 128


class LatentElements:
    """The places that are looked at in latents (B, C, ...) of one shape.

    `region`, in the latent's shape, is 1 where the sampler is free, None where it is free everywhere; only such places
    are looked at. At the first that is no latent of finite numbers `lost` is set.
    """

    def __init__(self, region: torch.Tensor | None = None) -> None:
        self.lost = False
        self.shape: torch.Size | None = None
        self._region = region
        self._places: torch.Tensor | None = None

    def sees(self, x: object) -> TypeGuard[torch.Tensor]:
        """Whether it is a latent (B, C, ...) that can be looked at."""
        self.lost = self.lost or not is_plain(x) or not self._covers(x)
        return not self.lost

    def is_new_shape(self, x: torch.Tensor) -> bool:
        """Whether a latent (B, C, ...) has another shape than those before, which it takes the place of."""
        if self._places is not None and self.shape == x.shape:
            return False
        self.shape, self._places = x.shape, self._choose(x).to(x.device)
        return True

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """Some elements (M,) of a latent (B, C, ...), on its device."""
        assert self._places is not None
        return x.detach().reshape(-1)[self._places.to(x.device)].double()

    def read(self, elements: Sequence[torch.Tensor]) -> list[np.ndarray]:
        """Elements, each (M,), on the CPU, by one copy for each device."""
        together = len({each.device for each in elements}) == 1
        read = torch.stack([*elements]).cpu().numpy() if together else [each.cpu().numpy() for each in elements]
        return [*read]

    def are_finite(self, elements: np.ndarray) -> bool:
        """Whether some elements (M,) are numbers; nothing is looked at any more where they are not."""
        self.lost = self.lost or not np.isfinite(elements).all()
        return not self.lost

    def _covers(self, x: torch.Tensor) -> bool:
        """Whether the region can be laid over a latent (B, C, ...)."""
        region = () if self._region is None else self._region.shape
        ends = zip(reversed(region), reversed(x.shape), strict=False)
        return len(region) <= x.ndim and all(size in (1, of_latent) for size, of_latent in ends)

    def _choose(self, x: torch.Tensor) -> torch.Tensor:
        """Places (M,) in a latent (B, C, ...) where the sampler is free."""
        places = torch.arange(x.numel())
        if self._region is not None:
            free = self._region.detach().cpu().expand(x.shape).reshape(-1) >= 1
            places = places[free] if free.any() else places
        return places[:: max(len(places) // SAMPLES, 1)][:SAMPLES]
