"""The schedule that needs no calibration: keyframes where a forecast would cost the picture most."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from .errors import FRDiffError
from .forecast import KRIGING, Forecaster, expected_deviation, log_noise_ratio
from .keyframes import SegmentCost, best_keyframes
from .schedule import Course, Plan, Schedule, StepKind, counted_speedup, plan_of

# Chosen on both demo models (docs/findings.md).
FORECAST_POWER = 1.0
NOISE_TOWARDS_DATA = 3.0
SHORTEST_GAP_CAP = 8
REPAIR = 0.75
# Of all steps, computed in full at least: for forecasts, and for partial steps.
FEWEST = (1 / 12, 1 / 4)
# Of the speed-up asked for: below it the report gives the reason.
REACHED = 0.9
FEW_STEPS = "{asked:g}x was asked for and {reached:.2f}x planned: of {steps} steps little can be skipped."
NOISE_LIMITS = (
    "{asked:g}x was asked for and {reached:.2f}x planned: the sampler adds noise at each step, and fewer full steps "
    "than a quarter would change the picture more than a run with fewer steps."
)
# Longer runs are planned on every so many of their steps.
LARGEST_SEARCH = 200


@dataclass(frozen=True)
class PriorSchedule(Schedule):
    """Reaches `speedup` in network time with the keyframes that cost least by the cost model.

    Deterministic samplers skip and forecast; samplers that add noise get partial steps, which alone let
    the new noise through the network. Raises FRDiffError when `speedup` is below 1 or not a number.
    """

    forecaster: Forecaster = KRIGING
    guarded: bool = True
    adapts: bool = True
    inner: bool = True
    repair: float = REPAIR
    speedup: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.speedup < float("inf"):
            raise FRDiffError(f"The speed-up is {self.speedup}; it must be 1 (off) or more.")

    def plan(self, course: Course) -> Plan:
        """Full steps at the keyframes, and the cheaper kind that suits the sampler between them."""
        if not course.stochastic:
            keyframes = _keyframes(course.times, course.emphasis, False, self._count(course.steps))
            return self._plan(course.steps, keyframes, StepKind.SKIP)
        if course.partial_cost is None:
            # Without partial steps the new noise would never reach the network.
            return self._plan(course.steps, range(course.steps), StepKind.FULL)
        # No stage was remembered at the steps that have passed, so that the next one is a keyframe.
        left, emphasis = course.times[course.passed :], course.emphasis[course.passed :]
        count = max(self._count(course.steps, course.partial_cost) - course.passed, 1)
        keyframes = [course.passed + step for step in _keyframes(left, emphasis, True, count)]
        return self._plan(course.steps, [*range(course.passed), *keyframes], StepKind.PARTIAL)

    def shortfall(self, course: Course) -> str | None:
        """Why the counted speed-up is well below the one asked for."""
        if not course.steps:
            return None
        reached = counted_speedup(self.plan(course), course.partial_cost or 0.0)
        if reached >= REACHED * self.speedup:
            return None
        why = NOISE_LIMITS if course.stochastic else FEW_STEPS
        return why.format(asked=self.speedup, reached=reached, steps=course.steps)

    def _plan(self, steps: int, keyframes: Iterable[int], between: StepKind) -> Plan:
        full = set(keyframes)
        return plan_of([(StepKind.FULL if step in full else between, 1.0) for step in range(steps)])

    def _count(self, steps: int, partial_cost: float = 0.0) -> int:
        """Full steps that bring the counted cost nearest to `steps / speedup`, when each other costs `partial_cost`."""
        count = (steps / self.speedup - partial_cost * steps) / (1 - partial_cost)
        return min(max(round(count), math.ceil(steps * FEWEST[partial_cost > 0]), 1), steps)


@lru_cache(maxsize=64)
def _keyframes(times: tuple[float, ...], emphasis: tuple[float, ...], stochastic: bool, count: int) -> tuple[int, ...]:
    """The best `count` keyframes of a run, or the nearest number above that can be had."""
    steps = len(times) - 1
    if steps < 1:
        return ()
    stride = math.ceil(steps / LARGEST_SEARCH)
    if stride > 1:
        return _spread(_keyframes(times[::stride], (), stochastic, max(count // stride, 1)), stride, steps, count)
    cost = partial_cost_model(times) if stochastic else forecast_cost_model(times, emphasis)
    fronts = best_keyframes(steps, cost, longest_gap=max(SHORTEST_GAP_CAP, 2 * math.ceil(steps / count)))
    return next(front for front in fronts[count - 1 :] if front)


def _spread(coarse: tuple[int, ...], stride: int, steps: int, count: int) -> tuple[int, ...]:
    """`count` keyframes of a long run, as dense as `coarse` ones of every `stride`-th step."""
    marks = [step * stride for step in coarse] + [steps]
    places = np.interp(np.linspace(0, len(coarse), count, endpoint=False), np.arange(len(marks)), marks)
    return tuple(sorted({int(place) for place in places}))


def forecast_cost_model(times: Sequence[float], emphasis: Sequence[float] = ()) -> SegmentCost:
    """What skipped steps between two keyframes are expected to do to the picture.

    A step's error is the deviation that the forecast expects of itself, and it moves the latent by that much
    times the step's length in flow time, and `emphasis` times as far where the sampler uses outputs otherwise than
    Euler's method.
    """
    lengths = [abs(t - after) for t, after in zip(times, times[1:], strict=False)]
    lengths = [length * each for length, each in zip(lengths, emphasis or [1.0] * len(lengths), strict=True)]

    @cache
    def step_cost(before: int, last: int, step: int) -> float:
        known = [times[last]] if before == last else [times[before], times[last]]
        return lengths[step] * expected_deviation(times[step], known) ** FORECAST_POWER

    return lambda before, last, following: sum(step_cost(before, last, step) for step in range(last + 1, following))


def partial_cost_model(times: Sequence[float]) -> SegmentCost:
    """What partial steps between two keyframes are expected to do to the picture, where noise is added.

    Remembered stages drift with the distance in log noise ratio, and fresh noise wipes out early errors.
    """
    u = [log_noise_ratio(t) for t in times]

    def step_cost(last: int, step: int) -> float:
        return (1 - times[step]) ** NOISE_TOWARDS_DATA * (u[last] - u[step])

    return lambda before, last, following: sum(step_cost(last, step) for step in range(last + 1, following))
