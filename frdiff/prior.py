"""The schedule that needs no calibration: keyframes where a forecast would cost the picture most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from .errors import FRDiffError
from .forecast import LINEAR, Forecaster
from .keyframes import best_keyframes
from .schedule import Course, Plan, Schedule, StepKind, plan_of

# Flow times are kept this far from 0 and 1, where log-SNR has no value.
EDGE = 5e-3


@dataclass(frozen=True)
class CostModel:
    """The expected error that one reused step leaves in the picture, from noise levels alone.

    With log-SNR distances h1 to the newest keyframe and h2 to the one before it, a step from flow time t
    to t' costs `|t - t'| * (h1 * h2) ** power * weight(t)`, with `weight(t) = (1 - t) ** towards_data`.
    """

    power: float
    uses_two: bool
    towards_data: float = 0.0
    floor: float = 0.0


# Chosen among a grid on both demo models at 12, 20, 28 and 50 steps (docs/findings.md).
FORECAST_COST = CostModel(power=0.75, uses_two=True)
PARTIAL_COST = CostModel(power=1.0, uses_two=False)


@dataclass(frozen=True)
class PriorSchedule(Schedule):
    """Reaches `speedup` in network time with the keyframes that cost least by the cost model.

    Deterministic samplers skip and forecast; samplers that add noise get partial steps, which alone let
    the new noise through the network. Raises FRDiffError when `speedup` is below 1 or not a number.
    """

    forecaster: Forecaster = LINEAR
    guarded: bool = True
    adapts: bool = True
    speedup: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.speedup < float("inf"):
            raise FRDiffError(f"The speed-up is {self.speedup}; it must be 1 (off) or more.")

    def plan(self, course: Course) -> Plan:
        """Full steps at the keyframes, and the cheaper kind that suits the sampler between them."""
        partial = course.stochastic and course.partial_cost is not None
        cheap = course.partial_cost if partial and course.partial_cost is not None else 0.0
        keyframes = set(_keyframes(course.times, course.stochastic, self._budget(course.steps, cheap)))
        between = StepKind.PARTIAL if partial else StepKind.SKIP
        if course.stochastic and not partial:
            # Without partial steps the new noise would never reach the network.
            keyframes = set(range(course.steps))
        return plan_of([(StepKind.FULL if i in keyframes else between, 1.0) for i in range(course.steps)])

    def _budget(self, steps: int, cheap: float) -> int:
        """Full steps that bring the counted cost nearest to `steps / speedup`, when the others cost `cheap`."""
        full = (steps / self.speedup - cheap * steps) / (1 - cheap)
        return min(max(round(full), 1), steps)


@lru_cache(maxsize=64)
def _keyframes(times: tuple[float, ...], stochastic: bool, count: int) -> tuple[int, ...]:
    """The best `count` keyframes of a run, or the nearest number above that can be had."""
    steps = len(times) - 1
    if steps < 1:
        return ()
    model = PARTIAL_COST if stochastic else FORECAST_COST
    fronts = best_keyframes(steps, _SegmentCost(times, model), longest_gap=max(8, 2 * math.ceil(steps / count)))
    return next(front for front in fronts[count - 1 :] if front)


class _SegmentCost:
    """The cost model over the steps of one run."""

    def __init__(self, times: tuple[float, ...], model: CostModel) -> None:
        clamped = [min(max(t, EDGE), 1 - EDGE) for t in times]
        self._log_snr = [math.log((1 - t) / t) for t in clamped]
        self._weight = [
            abs(t - after) * max(1 - t, 0.0) ** model.towards_data + model.floor
            for t, after in zip(times, times[1:], strict=False)
        ]
        self._model = model

    def __call__(self, before: int, last: int, following: int) -> float:
        return sum(self._step(before, last, step) for step in range(last + 1, following))

    def _step(self, before: int, last: int, step: int) -> float:
        h1 = self._log_snr[step] - self._log_snr[last]
        h2 = self._log_snr[step] - self._log_snr[before] if self._model.uses_two and before != last else 1.0
        return self._weight[step] * (h1 * h2) ** self._model.power
