"""What is predicted: the network's raw output, or the denoised latent x0 that it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..sampler.noise_levels import NoiseLevel
from ..tensors import combine, same_shapes


@dataclass(frozen=True)
class Prediction:
    """What is remembered and forecast at a noise level: raw outputs `F`, or with `x0` the `D = c_skip x + c_out F`.

    A raw output contains the noise of its own input. Where the sampler adds fresh noise at each step only the
    denoised latent goes on smoothly. Latents and outputs are tensors (B, C, ...) or lists of them.
    """

    x0: bool
    level: NoiseLevel

    def fits(self, output: Any, x: Any) -> bool:
        """Whether an output can be remembered so: a denoised latent is made from an output of the input's shape."""
        return not self.x0 or (self.level.c_out != 0 and same_shapes(output, x))

    def remembered(self, output: Any, x: Any) -> Any:
        """What to remember of a raw output (B, C, ...) at input `x`, of its shape (docs/math.md, equation 0.4)."""
        if not self.x0 or not self.fits(output, x):
            return output
        return combine((self.level.c_skip, self.level.c_out), (x, output), torch.float32)

    def raw(self, remembered: Any, x: Any, dtype: torch.dtype | None) -> Any:
        """The raw output, in `dtype` and of the forecast's shape, that stands for it (docs/math.md, equation 0.5)."""
        if not self.x0 or x is None:
            return remembered
        return combine((1 / self.level.c_out, -self.level.c_skip / self.level.c_out), (remembered, x), dtype)

    def nothing(self, x: Any) -> Any:
        """What leaves an input (B, C, ...) as it is: itself as denoised latent, None for a raw output of 0."""
        return x if self.x0 else None

    def corrected(self, output: Any, correction: Any) -> Any:
        """A raw output with a correction of what is remembered, of its shape (docs/math.md, equation 0.6)."""
        return combine((1.0, 1 / self.level.c_out if self.x0 else 1.0), (output, correction))


def level_of_remembered(level: NoiseLevel, x0: bool) -> NoiseLevel:
    """The level with `c_skip` and `c_out` of what is remembered: a denoised latent counts for itself alone."""
    return NoiseLevel(level.sigma, level.time, 0.0, 1.0) if x0 else level
