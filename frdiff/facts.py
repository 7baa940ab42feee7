"""What the host tells an engine when a sampling run starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


def default_flow_time(sigma: float) -> float:
    """Flow time of a noise level where the data keep their size (alpha is 1)."""
    return sigma / (1 + sigma)


@dataclass(frozen=True)
class RunFacts:
    """The run's noise levels, one more than there are steps; how a sigma becomes flow time; where the sampler is free.

    `expects_noise` says that the sampler is known to add noise. `output_scale` is how much a unit of the network's
    raw output counts in the denoised latent at a sigma, None where the host does not know. `other_cache` says that
    another cache is on the same model.
    """

    sigmas: Sequence[float]
    flow_time: Callable[[float], float] = default_flow_time
    region: Any = None
    expects_noise: bool = False
    output_scale: Callable[[float], float] | None = None
    other_cache: bool = False

    @property
    def moves(self) -> tuple[float, ...]:
        """How far a unit of raw output moves the latent at each step of a first-order solver."""
        scale = self.output_scale or (lambda sigma: -sigma)
        return tuple(
            (1 - after / sigma) * scale(sigma) if sigma > 0 else 0.0
            for sigma, after in zip(self.sigmas, self.sigmas[1:], strict=False)
        )
