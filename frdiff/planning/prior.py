"""The schedule that needs no calibration: keyframes where a forecast would cost the picture most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from ..errors import FRDiffError
from ..forecasting.rules import KRIGING, KRIGING_MODEL
from ..reasons import NOT_NEAR, TOGETHER, Reason
from ..sampler.noise_levels import EDGE
from ..store import SAME_TIME
from .keyframes import CostModel, SegmentCost, best_keyframes
from .parts import shared
from .plan import Plan
from .run import SamplingRun
from .schedule import RunOptions, Schedule

# Chosen on both demo models (docs/findings.md).
REPAIR = 0.75
# By the number of outputs that a forecast knows.
DEVIATION_BESIDES_DRIFT = {1: 0.6, 2: 0.3}
SHORTEST_GAP_CAP = 8
# Where a sampler adds a little noise and uses outputs again, a run from a lower flow time computes its second step.
PURE_NOISE = 0.98
# Computed in full at least: so many steps, and so many of all. Distilled models, with four steps, are left as they are.
FEWEST, FEWEST_OF_ALL = 5, 1 / 12
# In runs of so few evaluations a skip costs more than a step less would, but for a last step that is next to none.
SHORT, NEXT_TO_NONE = 7, 0.05
# Apart from the speed-up asked for: beyond it the report says so.
NEAR = 0.05
# Longer runs are planned on every so many of their steps.
LARGEST_SEARCH = 200

DIAL_OPTIONS = RunOptions(forecaster=KRIGING, guarded=True, adapts=True, repair=REPAIR, measures=True)


@dataclass(frozen=True)
class PriorSchedule(Schedule):
    """Reaches `speedup` in network time with the keyframes that cost least by the cost model.

    Skipped steps are forecast: their raw output, or their denoised latent where the sampler adds noise.
    Raises FRDiffError when `speedup` is below 1 or not a number.
    """

    options: RunOptions = DIAL_OPTIONS
    speedup: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.speedup < float("inf"):
            raise FRDiffError(f"The speed-up is {self.speedup}; it must be 1 (off) or more.")

    def plan(self, run: SamplingRun) -> Plan:
        """Full steps at the keyframes, and forecasts between them."""
        # Outputs of passed steps were remembered in a way that says nothing to a sampler that adds noise.
        passed, computed = (run.passed, run.computed) if run.stochastic else (0, ())
        weights = run.output_weight if run.stochastic else run.error_weight
        # However many were computed before, what is left is no single row of forecasts.
        fewest = math.ceil((run.length - passed) / SHORTEST_GAP_CAP) if passed else 1
        count = max(min(max(self._count(run) - len(computed), fewest), run.length - passed), 1)
        if run.memoryless:
            # What is made of early outputs is gone by the end, however many of them are left out in a row.
            found = (0, *range(run.length - passed - count + 1, run.length - passed))
        else:
            found = _keyframes(run.times[passed:], weights[passed:], _cost_model_of(run), count)
        keyframes = (*computed, *(passed + step for step in found))
        return Plan.with_keyframes(keyframes, run.length, step_of_evaluation=run.step_of_evaluation)

    def shortfall(self, run: SamplingRun) -> Reason | None:
        """What speed-up is counted where it is not the one asked for."""
        if not run.length:
            return None
        if is_shared(run):
            return self._together(run)
        reached = self.plan(run).speedup(0.0)
        if abs(reached / self.speedup - 1) <= NEAR:
            return None
        return NOT_NEAR.of(asked=self.speedup, reached=reached, steps=run.steps)

    def _together(self, run: SamplingRun) -> Reason:
        counts, lengths = self._shared_counts(run), [len(times) - 1 for times in parts_of(run)]
        first, steps, full = sum(lengths[: place_of(run)]), sum(lengths), sum(counts)
        return TOGETHER.of(first=first + 1, last=first + run.length, steps=steps, full=full, speedup=steps / full)

    def _count(self, run: SamplingRun) -> int:
        """Full steps that bring the counted cost nearest to `steps / speedup` (docs/math.md, equation 2.6)."""
        if is_shared(run):
            return self._shared_counts(run)[place_of(run)]
        if 0 < run.length <= SHORT:
            return run.length - (run.times[-2] < NEXT_TO_NONE)
        return self._count_of(run.length, run.evaluations_per_step)

    def _count_of(self, length: int, evaluations_per_step: float = 1.0) -> int:
        fewest = max(math.ceil(length * FEWEST_OF_ALL), math.ceil(FEWEST * evaluations_per_step))
        return min(max(round(length / self.speedup), fewest), length)

    def _shared_counts(self, run: SamplingRun) -> tuple[int, ...]:
        """Full steps of each part of a run, the parts in order, all of them together as if it were sampled in one."""
        parts = parts_of(run)
        length = sum(len(times) - 1 for times in parts)
        count = self._count_of(length)
        return shared(parts, count, _cost_model_of(run), max(SHORTEST_GAP_CAP, 2 * math.ceil(length / count)))


def parts_of(run: SamplingRun) -> tuple[tuple[float, ...], ...]:
    """The flow times of each part that a run is sampled in, in order."""
    return tuple(times for times in (run.before, run.times, run.after) if times)


def place_of(run: SamplingRun) -> int:
    """Which of the parts a run is."""
    return 1 if run.before else 0


def is_shared(run: SamplingRun) -> bool:
    """Whether a run is a part of another whose budget is shared: short parts, or of several evaluations, are not."""
    lengths = [len(times) - 1 for times in parts_of(run)]
    if len(lengths) < 2 or run.step_of_evaluation or run.memoryless:
        return False
    return min(lengths) > SHORT and sum(lengths) <= LARGEST_SEARCH


@lru_cache(maxsize=64)
def _keyframes(
    times: tuple[float, ...], weights: tuple[float, ...], cost_model: CostModel, count: int
) -> tuple[int, ...]:
    """The best `count` keyframes of a run, or the nearest number above that can be had; `weights` are of its steps."""
    steps = len(times) - 1
    if steps < 1:
        return ()
    stride = math.ceil(steps / LARGEST_SEARCH)
    if stride > 1:
        coarse = _keyframes(times[::stride], weights[::stride], cost_model, max(count // stride, 1))
        return _spread(coarse, stride, steps, count)
    longest_gap = max(SHORTEST_GAP_CAP, 2 * math.ceil(steps / count))
    fronts = best_keyframes(steps, cost_model(times, weights), longest_gap)
    return next(front for front in fronts[count - 1 :] if front)


def _spread(coarse: tuple[int, ...], stride: int, steps: int, count: int) -> tuple[int, ...]:
    """`count` keyframes of a long run, as dense as `coarse` ones of every `stride`-th step."""
    marks = [step * stride for step in coarse] + [steps]
    places = np.interp(np.linspace(0, len(coarse), count, endpoint=False), np.arange(len(marks)), marks)
    return tuple(sorted({int(place) for place in places}))


def _cost_model_of(run: SamplingRun) -> CostModel:
    if not run.stochastic:
        return raw_cost_model
    return x0_cost_model_by_differences if run.multistep and run.keeps_noise else x0_cost_model


def raw_cost_model(times: Sequence[float], error_weight: Sequence[float] = ()) -> SegmentCost:
    """What skipped steps between two keyframes are expected to do to the picture (docs/math.md, equation 2.2).

    The error of a step's raw output is the deviation that the forecast expects of itself. It moves the latent by that
    times the step's `error_weight`: by its length in flow time with Euler's method, or where nothing is known.
    """
    weight = error_weight or [abs(t - after) for t, after in zip(times, times[1:], strict=False)]

    @cache
    def step_cost(before: int, last: int, step: int) -> float:
        if any(abs(times[known] - times[step]) <= SAME_TIME for known in (before, last)):
            return weight[step] * _deviation_of_corrected(times, step)
        return weight[step] * KRIGING_MODEL.deviation(times[step], _known(times, before, last))

    return lambda before, last, following: sum(step_cost(before, last, step) for step in range(last + 1, following))


def x0_cost_model(times: Sequence[float], output_weight: Sequence[float] = ()) -> SegmentCost:
    """What skipped steps do to the picture where noise is added (docs/math.md, equation 2.4).

    The denoised latent drifts with the angle `atan(s)` between data and noise, besides what the forecast expects to
    miss; each error counts as much as the sampler uses it, and alike where that is not known.
    """
    angles = [math.atan2(t, 1 - t) for t in times]
    weight = output_weight or [1.0] * len(times)

    @cache
    def step_cost(before: int, last: int, step: int) -> float:
        known = _known(times, before, last)
        deviation = DEVIATION_BESIDES_DRIFT[len(known)] * KRIGING_MODEL.deviation(times[step], known)
        return weight[step] * (abs(angles[last] - angles[step]) + deviation)

    return lambda before, last, following: sum(step_cost(before, last, step) for step in range(last + 1, following))


def x0_cost_model_by_differences(times: Sequence[float], output_weight: Sequence[float] = ()) -> SegmentCost:
    """The same where a sampler goes by the outputs' differences and keeps most of what it makes of them: a run that
    begins below pure noise computes its second step.
    """
    cost = x0_cost_model(times, output_weight)
    if times[0] >= PURE_NOISE:
        return cost
    return lambda before, last, following: math.inf if last == 0 and following > 1 else cost(before, last, following)


def _deviation_of_corrected(times: Sequence[float], step: int) -> float:
    """How far an output is from the one before it at the same noise level, when its input was corrected since.

    Heun's method corrects it by half of what the slopes at the step's two ends differ in, and a raw output shows a
    moved input the more, the less noise there is (docs/math.md, equation 2.3). The square was better than the share
    itself (docs/findings.md).
    """
    start = next((time for time in reversed(times[:step]) if time - times[step] > SAME_TIME), times[step])
    share = (start - times[step]) / (2 * max(times[step], EDGE))
    return min(share, 1.0) ** 2 * KRIGING_MODEL.deviation(times[step], [start])


def _known(times: Sequence[float], before: int, last: int) -> list[float]:
    """The flow times that a forecast knows of; of two evaluations at the same one the newer is remembered."""
    return [times[last]] if abs(times[before] - times[last]) <= SAME_TIME else [times[before], times[last]]
