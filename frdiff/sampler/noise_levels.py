"""Noise levels by their names in the field: sigma, flow time, half the log-SNR, c_skip and c_out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Flow times are kept this far from 0 and 1, where the log-SNR has no value.
EDGE = 5e-3
# Sigmas come back from the sampler with rounding errors of single precision.
SIGMA_TOLERANCE = 1e-4


@dataclass(frozen=True)
class NoiseLevel:
    """A noise level of a run.

    `time` is its flow time, `noise / (noise + data)`, from 1 (noise) to 0 (data). The denoised latent is
    `D = c_skip x + c_out F(x)`, with `x` the latent as the sampler has it and `F` the network's raw output
    (EDM, arXiv 2206.00364, equation 7, with `c_in` left to the host; docs/math.md, equation 0.1).
    """

    sigma: float
    time: float
    c_skip: float = 1.0
    c_out: float = -1.0


LevelOf = Callable[[float], NoiseLevel]


def noise_prediction_level(sigma: float) -> NoiseLevel:
    """The level of a sigma where the data keep their size (alpha is 1) and the network predicts the noise.

    See docs/math.md, equation 0.2.
    """
    return NoiseLevel(sigma, sigma / (1 + sigma), 1.0, -sigma)


def half_log_snr(t: float) -> float:
    """lambda = log(alpha / sigma) = log((1 - t) / t) at flow time `t` (DPM-Solver, arXiv 2206.00927).

    See docs/math.md, equation 0.3.
    """
    clamped = min(max(t, EDGE), 1 - EDGE)
    return -math.log(clamped / (1 - clamped))


def step_of_sigma(sigma: float, sigmas: Sequence[float]) -> int:
    """The solver step that `sigma` belongs to: the last whose own sigma is not below it."""
    lowest = sigma * (1 - SIGMA_TOLERANCE)
    return next((step for step in range(len(sigmas) - 2, -1, -1) if sigmas[step] >= lowest), 0)
