"""Find out from the run itself whether the sampler adds fresh noise."""

from __future__ import annotations

from collections import deque
from typing import TypeGuard

import numpy as np
import torch

from ..tensors import is_plain

# Latent elements that are looked at: enough to tell noise from rounding, few enough to cost nothing.
SAMPLES = 128
# Of the latent's own size: a linear solver leaves rounding errors, noise leaves far more.
NOISE_TOLERANCE = 1e-3
# Solvers of the host combine at most this many past evaluations.
MEMORY = 5


class SamplerWatch:
    """Sees what goes into and comes out of each evaluation, and tells whether noise came in between.

    A deterministic solver makes its next input as a linear combination of past inputs and of the
    outputs that it was given; what cannot be written so is fresh noise. `region`, in the latent's shape (B, C, ...), is
    1 where the sampler is free, None where it is free everywhere.
    `cfg_pp` says that the sampler takes the outputs of single conditions, as CFG++ does. What passes by may be
    anything: at the first that is no latent of finite numbers the watch ends, and `lost` says so.
    """

    def __init__(self, region: torch.Tensor | None = None) -> None:
        self.stochastic: bool | None = None
        self.cfg_pp = False
        self.lost = False
        self._region = region
        self._shape: torch.Size | None = None
        self._places: torch.Tensor | None = None
        self._inputs: deque[np.ndarray] = deque(maxlen=MEMORY)
        self._outputs: deque[np.ndarray] = deque(maxlen=MEMORY)
        self._parts: deque[np.ndarray] = deque(maxlen=2 * MEMORY)

    def arrived(self, x: object) -> None:
        """Note the input (B, C, ...) of an evaluation, and compare it with what came before."""
        if self.stochastic or not self._sees(x):
            return
        now = self._sampled(x)
        if self._outputs and self._inputs and self._is_finite(now):
            # Some samplers remember derivatives, so older inputs matter, and CFG++ uses the unconditional output.
            plain, older, parts = [self._inputs[-1], *self._outputs], list(self._inputs)[:-1], list(self._parts)
            if not self._explained(now, plain) and not self._explained(now, plain + older):
                self.stochastic = not parts or not self._explained(now, plain + older + parts)
                self.cfg_pp = self.cfg_pp or not self.stochastic
            else:
                self.stochastic = False
        self._inputs.append(now)

    def answered(self, denoised: object) -> None:
        """Note what an evaluation returned to the sampler, (B, C, ...)."""
        if self.stochastic or not self._sees(denoised):
            return
        self._outputs.append(self._sampled(denoised))
        self._is_finite(self._outputs[-1])

    def called(self, denoised: object) -> None:
        """Note what one network call returned: the outputs of P conditions in one batch (P B, C, ...)."""
        # A network may return what is no latent: then single conditions are of no use to the sampler either.
        if self.stochastic or self.lost or self._shape is None or not is_plain(denoised):
            return
        if denoised.shape[1:] == self._shape[1:] and len(denoised) % self._shape[0] == 0:
            parts = [self._sampled(part) for part in torch.split(denoised, self._shape[0])]
            self._parts.extend(part for part in parts if np.isfinite(part).all())

    def _sees(self, x: object) -> TypeGuard[torch.Tensor]:
        """Whether it is a latent (B, C, ...) that can be watched."""
        self.lost = self.lost or not is_plain(x) or not self._covers(x)
        return not self.lost

    def _covers(self, x: torch.Tensor) -> bool:
        """Whether the region can be laid over a latent (B, C, ...)."""
        region = () if self._region is None else self._region.shape
        ends = zip(reversed(region), reversed(x.shape), strict=False)
        return len(region) <= x.ndim and all(size in (1, of_latent) for size, of_latent in ends)

    def _is_finite(self, sampled: np.ndarray) -> bool:
        """Whether some elements (M,) are finite; the watch ends where they are not."""
        self.lost = self.lost or not np.isfinite(sampled).all()
        return not self.lost

    def _sampled(self, x: torch.Tensor) -> np.ndarray:
        """Some elements (M,) of a latent (B, C, ...), always the same."""
        if self._places is None or self._shape != x.shape:
            self._shape, self._places = x.shape, self._choose(x).to(x.device)
            self._outputs.clear()
            self._parts.clear()
            self._inputs.clear()
        return x.detach().reshape(-1)[self._places.to(x.device)].double().cpu().numpy()

    @staticmethod
    def _explained(now: np.ndarray, basis: list[np.ndarray]) -> bool:
        """Whether `now` (M,) is a linear combination of `basis`, each (M,), but for rounding."""
        return _remainder(now, basis) <= NOISE_TOLERANCE

    def _choose(self, x: torch.Tensor) -> torch.Tensor:
        """Places (M,) in a latent (B, C, ...) where the sampler is free."""
        places = torch.arange(x.numel())
        if self._region is not None:
            free = self._region.detach().cpu().expand(x.shape).reshape(-1) >= 1
            places = places[free] if free.any() else places
        return places[:: max(len(places) // SAMPLES, 1)][:SAMPLES]


def _remainder(y: np.ndarray, basis: list[np.ndarray]) -> float:
    """The part of `y` (M,) outside the span of `basis`, each (M,), relative to `y` (docs/math.md, equation 3.7)."""
    columns = np.stack(basis, axis=1)
    # By singular values: successive outputs are nearly parallel.
    solution: np.ndarray = np.linalg.lstsq(columns, y, rcond=None)[0]
    return float(np.linalg.norm(columns @ solution - y)) / max(float(np.linalg.norm(y)), 1e-30)
