"""Forecasts of a network output: weights from flow times alone, applied to remembered outputs.

A rule `w(t; t_1 .. t_K)` is a function of the flow time to forecast and of the known ones, oldest first; it returns
K weights, whose sum is 1. To add one, write it here below `@forecaster(...)`: the schedule node, schedule files and
the tests know it then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .kriging import Kriging

CHEBYSHEV_RIDGE = 0.1
# How far in flow time a forecast may reach before it is led back to the newest output, and from where on by half.
# Chosen by measurement at 12 to 50 steps (docs/findings.md).
NEAR, FAR = 0.03, 0.09

Weights = Callable[[float, Sequence[float]], Sequence[float]]


@dataclass(frozen=True)
class Forecaster:
    """A rule, and the number of remembered outputs that it can use.

    A series that is a polynomial of `order` in flow time is forecast exactly. `steady` takes the rule's place with
    multistep samplers, which use outputs again and so enlarge what forecasts miss.
    """

    name: str
    weights: Weights
    history: int
    order: int = 0
    steady: Weights | None = None

    def weights_for(self, multistep: bool) -> Weights:
        """The rule for a multistep sampler or another."""
        return self.steady if multistep and self.steady else self.weights


FORECASTERS: dict[str, Forecaster] = {}


def forecaster(name: str, history: int, order: int = 0, steady: Weights | None = None) -> Callable[[Weights], Weights]:
    """Register the function below as a forecaster (see Forecaster)."""

    def register(weights: Weights) -> Weights:
        FORECASTERS[name] = Forecaster(name, weights, history, order, steady)
        return weights

    return register


@forecaster("reuse", history=1)
def reuse_weights(t: float, times: Sequence[float]) -> list[float]:
    """Order 0: the newest remembered output alone (arXiv 2312.03517, the "jump"; docs/math.md, equation 1.6)."""
    return [0.0] * (len(times) - 1) + [1.0]


@forecaster("mean", history=2)
def mean_weights(t: float, times: Sequence[float]) -> list[float]:
    """The mean of the two newest outputs: the average velocity of the last stretch (docs/math.md, equation 1.7)."""
    return [0.0] * (len(times) - 2) + [0.5, 0.5] if len(times) > 1 else [1.0]


def linear_weights(t: float, times: Sequence[float]) -> list[float]:
    """Order 1: the straight line through the two newest outputs; reuse while there is only one."""
    return lagrange_weights(t, times, order=1)


@forecaster("damped linear", history=2)
def damped_weights(t: float, times: Sequence[float]) -> list[float]:
    """Half way between reuse and the straight line (docs/math.md, equation 1.9)."""
    return [(r + s) / 2 for r, s in zip(reuse_weights(t, times), linear_weights(t, times), strict=True)]


@forecaster("cautious", history=3)
def cautious_weights(t: float, times: Sequence[float]) -> Sequence[float]:
    """Reuse while there are fewer than three outputs, then half way between reuse and the straight line.

    The first denoised latents of a run are the least certain, and a line through them enlarges their errors.
    """
    return (reuse_weights if len(times) < 3 else damped_weights)(t, times)


forecaster("linear", history=2, order=1)(linear_weights)


@forecaster("quadratic", history=3, order=2)
def quadratic_weights(t: float, times: Sequence[float]) -> list[float]:
    """Order 2: the parabola through the three newest outputs; a lower order while there are fewer."""
    return lagrange_weights(t, times, order=2)


@forecaster("chebyshev", history=8)
def chebyshev_weights(t: float, times: Sequence[float]) -> list[float]:
    """Ridge regression on Chebyshev polynomials of flow time, half blended with the straight line (Spectrum).

    Order `min(4, K - 1)`, ridge 0.1, the constant term not penalised; flow time, from 0 to 1, is the whole range
    (docs/math.md, equation 1.10).
    """
    order = min(4, len(times) - 1)
    features = np.polynomial.chebyshev.chebvander(2 * np.array(times) - 1, order)
    penalty = CHEBYSHEV_RIDGE * (np.eye(order + 1) * ([0.0] + [1.0] * order))
    target = np.polynomial.chebyshev.chebvander(np.array([2 * t - 1]), order)[0]
    transposed = np.transpose(features)
    fitted = target @ np.linalg.solve(transposed @ features + penalty, transposed)
    return [(c + s) / 2 for c, s in zip(fitted.tolist(), linear_weights(t, times), strict=True)]


# One model for the forecast and for the deviation that plans weigh.
KRIGING_MODEL = Kriging()


def steady_kriging_weights(t: float, times: Sequence[float]) -> list[float]:
    """Kriging, and the farther in flow time it reaches the more of reuse, up to half (docs/math.md, equation 1.5)."""
    share = min(max((times[-1] - t - NEAR) / (FAR - NEAR), 0.0), 1.0) / 2
    both = zip(reuse_weights(t, times), kriging_weights(t, times), strict=True)
    return [share * repeated + (1 - share) * extrapolated for repeated, extrapolated in both]


@forecaster("kriging", history=3, steady=steady_kriging_weights)
def kriging_weights(t: float, times: Sequence[float]) -> Sequence[float]:
    """The best linear unbiased prediction (Kriging)."""
    return KRIGING_MODEL.weights(t, times)


def lagrange_weights(t: float, times: Sequence[float], order: int) -> list[float]:
    """Weights of the polynomial of at most `order` through the newest outputs, at time `t`.

    Exact for any series that is a polynomial of that order in `times`, which are distinct (docs/math.md, equation 1.8).
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


REUSE, CAUTIOUS, KRIGING = (FORECASTERS[name] for name in ("reuse", "cautious", "kriging"))
