"""Which schedules are better than what needs no calibration."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..schedule_files.model import CALIBRATED, PRIOR, Point

# A schedule replaces the prior only when it is clearly better: by about 0.3 dB.
MARGIN = 0.97
# In standard errors of the mean difference: calibrations that only seemed better lost on other prompts.
CLEARLY = 2.0


def verdicts(points: list[Point]) -> list[Point]:
    """Give the prior the points where it was not clearly worse, their neighbours, and those outside what was tried."""
    tried = {i: point.source == CALIBRATED and point.error < MARGIN * point.prior_error
             for i, point in enumerate(points)
             if point.error is not None and point.prior_error is not None}  # fmt: skip

    def won(i: int) -> bool:
        below = max((j for j in tried if j <= i), default=None)
        above = min((j for j in tried if j >= i), default=None)
        return all(j is not None and tried[j] for j in (below, above))

    return [replace(point, source=CALIBRATED if won(i) else PRIOR) for i, point in enumerate(points)]


def clearly_less(ours: np.ndarray, others: np.ndarray) -> bool:
    """Whether the mean of paired differences (R,), (R,) is clearly below zero; of one pair, whether it is below.

    By two standard errors of the mean (docs/math.md, equation 6.6).
    """
    apart = ours - others
    error = apart.std(ddof=1) / math.sqrt(len(apart)) if len(apart) > 1 else 0.0
    return bool(apart.mean() < -CLEARLY * error)


def mean_error(logs: np.ndarray) -> float:
    """The geometric mean of errors, from their logarithms (R,) (docs/math.md, equation 6.7)."""
    return math.exp(float(logs.mean()))
