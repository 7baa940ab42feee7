"""Ordinary kriging of outputs over half the log-SNR: the forecast, and the error that it expects (docs/math.md, 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..sampler.noise_levels import half_log_snr

# Keeps the equations solvable where two keyframes are very close.
NUGGET = 1e-10


@dataclass(frozen=True)
class Kriging:
    """Outputs as a random function of lambda with Matern-3/2 correlation, and its best linear unbiased prediction.

    `length` is the correlation length in units of lambda; chosen by measurement among 1 to 10 (docs/findings.md).
    Close to a keyframe the forecast is a straight line, far away it returns to the mean of what is remembered.
    """

    length: float = 4.0

    def weights(self, t: float, times: Sequence[float]) -> Sequence[float]:
        """Weights (K,) of the prediction at `t` from outputs at distinct flow `times` (docs/math.md, equation 1.3)."""
        return _solved(self, t, tuple(times))[0]

    def deviation(self, t: float, times: Sequence[float]) -> float:
        """The deviation that the forecast at `t` expects of itself, over the outputs' own (docs/math.md, equation 1.4).

        Far from all `times` it is above 1.
        """
        return _solved(self, t, tuple(times))[1]

    def correlation(self, distance: np.ndarray) -> np.ndarray:
        """Matern-3/2 correlation of outputs so far apart in lambda, of the same shape (docs/math.md, equation 1.1)."""
        scaled = math.sqrt(3) * distance / self.length
        return (1 + scaled) * np.exp(-scaled)


# The same run is queued again and again with other seeds, and a plan weighs all gaps of a run.
@lru_cache(maxsize=65536)
def _solved(model: Kriging, t: float, times: tuple[float, ...]) -> tuple[tuple[float, ...], float]:
    """The weights (K,) and the expected deviation, from the kriging system (docs/math.md, equations 1.2 to 1.4)."""
    known = np.array([half_log_snr(time) for time in times])
    count = len(known)
    equations = np.ones((count + 1, count + 1))
    equations[:count, :count] = model.correlation(np.abs(known[:, None] - known[None])) + NUGGET * np.eye(count)
    equations[count, count] = 0
    right = np.append(model.correlation(np.abs(known - half_log_snr(t))), 1.0)
    solution = np.linalg.solve(equations, right)
    weights, multiplier = solution[:count], float(solution[count])
    variance = 1 - float(weights @ right[:count]) - multiplier
    return tuple(weights.tolist()), math.sqrt(max(variance, 0.0))
