"""What is remembered of a network's outputs, and how an answer is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .rules import combine


@dataclass(frozen=True)
class Space:
    """Raw outputs, or the denoised latents `D = c x + a raw` that they stand for at the noise level of a step.

    A raw output contains the noise of its own input. Where the sampler adds fresh noise at each step only the
    denoised latent goes on smoothly.
    """

    denoised: bool
    c: float = 1.0
    a: float = -1.0

    @property
    def scales(self) -> tuple[float, float]:
        """How much a unit of the input and of what is remembered count in the denoised latent."""
        return (0.0, 1.0) if self.denoised else (self.c, self.a)

    def fits(self, output: Any, x: Any) -> bool:
        """Whether an output can be remembered so: a denoised latent is made from an output of the input's shape."""
        if not self.denoised:
            return True
        shape = _shape(x)
        return self.a != 0 and shape is not None and _shape(output) == shape

    def remembered(self, output: Any, x: Any) -> Any:
        """What to remember of a raw output."""
        if not self.denoised or not self.fits(output, x):
            return output
        return combine((self.c, self.a), (x, output), torch.float32)

    def answer(self, remembered: Any, x: Any, dtype: torch.dtype | None) -> Any:
        """The raw output, in `dtype`, that stands for a forecast."""
        if not self.denoised or x is None:
            return remembered
        return combine((1 / self.a, -self.c / self.a), (remembered, x), dtype)

    def corrected(self, output: Any, correction: Any) -> Any:
        """A raw output with a correction of what is remembered."""
        return combine((1.0, 1 / self.a if self.denoised else 1.0), (output, correction))


RAW = Space(denoised=False)


def _shape(value: Any) -> Any:
    """The shape of a tensor, or those in a list or tuple of them; None where there is something else."""
    if isinstance(value, (list, tuple)):
        shapes = tuple(map(_shape, value))
        return None if None in shapes else shapes
    return value.shape if isinstance(value, torch.Tensor) else None
