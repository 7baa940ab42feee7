"""What the host tells an engine when a sampling run starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .sampler.response import Rehearsal


def default_flow_time(sigma: float) -> float:
    """Flow time of a noise level where the data keep their size (alpha is 1)."""
    return sigma / (1 + sigma)


def noise_prediction_scales(sigma: float) -> tuple[float, float]:
    """The denoised latent is the input less sigma times the output."""
    return 1.0, -sigma


@dataclass(frozen=True)
class RunFacts:
    """The run's noise levels, one more than there are steps; how a sigma becomes flow time; where the sampler is free.

    `rehearsal` is what the sampler does, None where only the run can show it. `scales` says for a sigma how much a
    unit of the input, and a unit of the network's raw output, count in the denoised latent; the default is that of
    noise prediction. `other_cache` says that another cache is on the same model.
    """

    sigmas: Sequence[float]
    flow_time: Callable[[float], float] = default_flow_time
    region: Any = None
    rehearsal: Rehearsal | None = None
    scales: Callable[[float], tuple[float, float]] = noise_prediction_scales
    other_cache: bool = False
