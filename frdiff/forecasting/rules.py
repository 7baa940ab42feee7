"""Forecasts of a network output: weights from flow times alone, applied to remembered outputs.

The trajectory of outputs is taken as a random function of log noise-to-data ratio `u = log(t / (1 - t))` with
Matern-3/2 correlation. Its best linear unbiased prediction (ordinary kriging) is the forecast, and the
deviation that the same model expects is what a schedule weighs: one constant for both, `CORRELATION_LENGTH`.
Close to a keyframe it is the straight line, far away it returns to the mean of what is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

# In units of u. Chosen by measurement among 1 to 10 (docs/findings.md).
CORRELATION_LENGTH = 4.0
# Flow times are kept this far from 0 and 1, where u has no value.
EDGE = 5e-3
CHEBYSHEV_RIDGE = 0.1
# How far in flow time a forecast may reach before it is led back to the newest output, and from where on by half.
# Chosen by measurement at 12 to 50 steps (docs/findings.md).
NEAR, FAR = 0.03, 0.09
# Keeps the equations solvable where two keyframes are very close.
NUGGET = 1e-10

Weights = Callable[[float, Sequence[float]], Sequence[float]]


@dataclass(frozen=True)
class Forecaster:
    """A rule `w(t; t_1 .. t_K)` and the number of remembered outputs that it can use.

    `steady` takes its place with solvers that use outputs again in later steps, and so enlarge what forecasts miss.
    """

    name: str
    weights: Weights
    history: int
    steady: Weights | None = None

    def weights_for(self, remembers: bool) -> Weights:
        """The rule for a solver that uses outputs again, or does not."""
        return self.steady if remembers and self.steady else self.weights


def reuse_weights(t: float, times: Sequence[float]) -> list[float]:
    """Order 0: the newest remembered output alone (arXiv 2312.03517, the "jump")."""
    return [0.0] * (len(times) - 1) + [1.0]


def linear_weights(t: float, times: Sequence[float]) -> list[float]:
    """Order 1: the straight line through the two newest outputs; reuse while there is only one."""
    return lagrange_weights(t, times, order=1)


def quadratic_weights(t: float, times: Sequence[float]) -> list[float]:
    """Order 2: the parabola through the three newest outputs; a lower order while there are fewer."""
    return lagrange_weights(t, times, order=2)


def lagrange_weights(t: float, times: Sequence[float], order: int) -> list[float]:
    """Weights of the polynomial of at most `order` through the newest outputs, at time `t`.

    Exact for any series that is a polynomial of that order in `times`, which are distinct.
    """
    nodes = list(times[-(order + 1) :])
    weights = [0.0] * (len(times) - len(nodes))
    for node in nodes:
        weight = 1.0
        for other in nodes:
            if other != node:
                weight *= (t - other) / (node - other)
        weights.append(weight)
    return weights


def kriging_weights(t: float, times: Sequence[float]) -> Sequence[float]:
    """Weights of the best linear unbiased prediction at time `t` from outputs at distinct `times`."""
    return _kriging_weights(t, tuple(times))


# The same run is queued again and again with other seeds.
@lru_cache(maxsize=4096)
def _kriging_weights(t: float, times: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(_kriging(t, times)[0].tolist())


def steady_kriging_weights(t: float, times: Sequence[float]) -> list[float]:
    """Kriging, and the farther in flow time the forecast reaches the more of reuse, up to half."""
    share = min(max((times[-1] - t - NEAR) / (FAR - NEAR), 0.0), 1.0) / 2
    both = zip(reuse_weights(t, times), kriging_weights(t, times), strict=True)
    return [share * repeated + (1 - share) * extrapolated for repeated, extrapolated in both]


def expected_deviation(t: float, times: Sequence[float]) -> float:
    """The deviation that the kriging forecast at `t` from `times` expects of itself; far from all, above 1."""
    weights, right, multiplier = _kriging(t, times)
    return math.sqrt(max(1 - float(weights @ right) - multiplier, 0.0))


def log_noise_ratio(t: float) -> float:
    """`u = log(s)` with `s = t / (1 - t)` the ratio of noise to data at flow time `t`."""
    clamped = min(max(t, EDGE), 1 - EDGE)
    return math.log(clamped / (1 - clamped))


def _kriging(t: float, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray, float]:
    """Ordinary kriging: weights, the correlations with the target, and the multiplier of the weights' sum of 1."""
    u = np.array([log_noise_ratio(time) for time in times])
    count = len(u)
    equations = np.ones((count + 1, count + 1))
    equations[:count, :count] = _matern(np.abs(u[:, None] - u[None])) + NUGGET * np.eye(count)
    equations[count, count] = 0
    right = np.append(_matern(np.abs(u - log_noise_ratio(t))), 1.0)
    solution = np.linalg.solve(equations, right)
    return solution[:count], right[:count], float(solution[count])


def _matern(distance: np.ndarray) -> np.ndarray:
    scaled = math.sqrt(3) * distance / CORRELATION_LENGTH
    return (1 + scaled) * np.exp(-scaled)


def mean_weights(t: float, times: Sequence[float]) -> list[float]:
    """The mean of the two newest outputs: the average velocity of the last stretch."""
    return [0.0] * (len(times) - 2) + [0.5, 0.5] if len(times) > 1 else [1.0]


def damped_weights(t: float, times: Sequence[float]) -> list[float]:
    """Half way between reuse and the straight line."""
    return [(r + s) / 2 for r, s in zip(reuse_weights(t, times), linear_weights(t, times), strict=True)]


def cautious_weights(t: float, times: Sequence[float]) -> list[float]:
    """Reuse while there are fewer than three outputs, then half way between reuse and the straight line.

    The first denoised latents of a run are the least certain, and a line through them enlarges their errors.
    """
    return (reuse_weights if len(times) < 3 else damped_weights)(t, times)


def chebyshev_weights(t: float, times: Sequence[float]) -> list[float]:
    """Ridge regression on Chebyshev polynomials of flow time, half blended with the straight line (Spectrum).

    Order `min(4, K - 1)`, ridge 0.1, the constant term not penalised; flow time, from 0 to 1, is the whole range.
    """
    order = min(4, len(times) - 1)
    features = np.polynomial.chebyshev.chebvander(2 * np.array(times) - 1, order)
    penalty = CHEBYSHEV_RIDGE * np.diag([0.0] + [1.0] * order)
    target = np.polynomial.chebyshev.chebvander(np.array([2 * t - 1]), order)[0]
    fitted = target @ np.linalg.solve(features.T @ features + penalty, features.T)
    return [(c + s) / 2 for c, s in zip(fitted.tolist(), linear_weights(t, times), strict=True)]


REUSE = Forecaster("reuse", reuse_weights, history=1)
KRIGING = Forecaster("kriging", kriging_weights, history=3, steady=steady_kriging_weights)
CAUTIOUS = Forecaster("cautious", cautious_weights, history=3)
FORECASTERS = {
    each.name: each
    for each in (
        REUSE,
        Forecaster("mean", mean_weights, history=2),
        Forecaster("damped linear", damped_weights, history=2),
        CAUTIOUS,
        Forecaster("linear", linear_weights, history=2),
        Forecaster("quadratic", quadratic_weights, history=3),
        Forecaster("chebyshev", chebyshev_weights, history=8),
        KRIGING,
    )
}


def combine(weights: Sequence[float], outputs: Sequence[Any], dtype: torch.dtype | None = None) -> Any:
    """Return `sum_k w_k h_k` as new tensors of the first one's kind; an output is a tensor, or a list or tuple of them.

    Half precision is added up in single precision. The result is in `dtype`, or in the first one's.
    """
    first = outputs[0]
    if isinstance(first, (list, tuple)):
        return type(first)(combine(weights, parts, dtype) for parts in zip(*outputs, strict=True))
    total = first.to(torch.promote_types(first.dtype, torch.float32)) * weights[0]
    for weight, output in zip(weights[1:], outputs[1:], strict=True):
        total = torch.add(total, output, alpha=weight)
    return total.to(dtype or first.dtype)


def relative_error(forecast: Any, truth: Any) -> float:
    """`|forecast - truth| / |truth|` of two outputs, the worst element of the batch (waits for the device)."""
    if isinstance(truth, (list, tuple)):
        return max(relative_error(a, b) for a, b in zip(forecast, truth, strict=True))
    apart = (forecast.float() - truth.float()).flatten(1).norm(dim=1)
    size = truth.float().flatten(1).norm(dim=1)
    return float((apart / size.clamp(min=torch.finfo(torch.float32).tiny)).max())
