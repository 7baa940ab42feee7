"""A schedule from a file, for any speed-up and carried over to any run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..blocks.network_id import NetworkId
from ..errors import FRDiffError
from ..forecasting.rules import KRIGING
from ..planning.plan import Plan, StepKind
from ..planning.prior import DIAL_OPTIONS, PriorSchedule
from ..planning.run import SamplingRun
from ..planning.schedule import RunOptions, Schedule
from ..reasons import CARRIED_OVER, NOT_BETTER, OTHER_KIND, OTHER_PATCHES, OTHER_WEIGHTS, Reason
from .model import CALIBRATED, Point, ScheduleFile

# Noise levels this near in flow time are the same: samplers keep sigmas in single precision.
SAME_TIMES = 1e-4
ROUNDING = 1e-9

MORE_CALLS = {"made_for": "a sampler that evaluates once for each step", "this": "evaluates more often"}
ADDED_NOISE = {"made_for": "a deterministic sampler", "this": "adds noise"}

FILE_OPTIONS = RunOptions(guarded=True, adapts=True, inner=True, measures=True)


@dataclass(frozen=True)
class CalibratedSchedule(Schedule):
    """The point of a file's front nearest to `speedup`, carried over to the run.

    On other noise levels partial steps are resampled, and forecasts placed like the prior's, with the file's repair.
    Where the file says that the prior was better, or the sampler adds noise or evaluates more than once for a step and
    the file's did not, it plans like the prior. Raises FRDiffError when `speedup` is below 1 or there is no file.
    """

    options: RunOptions = FILE_OPTIONS
    speedup: float = 2.0
    file: ScheduleFile | None = None

    def __post_init__(self) -> None:
        if self.file is None:
            raise FRDiffError("A calibrated schedule needs a schedule file.")
        if not 1 <= self.speedup < float("inf"):
            raise FRDiffError(f"The speed-up is {self.speedup}; it must be 1 (off) or more.")

    def plan(self, run: SamplingRun) -> Plan:
        """The file's schedule for this run."""
        file, point = self._file, self.point
        if run.length < 1:
            return Plan()
        if point.source != CALIBRATED or self._other_kind(run):
            return self._prior.plan(run)
        if file.forecaster == KRIGING and not file.stochastic and not same_times(file.times, run.times):
            # Where forecasts are best depends on the very steps; the repair carries over (docs/findings_auto_fr.md).
            return self._prior.plan(run)
        return Plan.of(resample(point.kinds, file.times, run.times))

    @property
    def point(self) -> Point:
        """The point of the front nearest to the dial."""
        return min(self._file.points, key=lambda point: (abs(point.cost - 1 / self.speedup), point.cost))

    def accept(self, describe: Callable[[], NetworkId]) -> Reason | None:
        """Raise FRDiffError for a network of another architecture; return a note for other weights or patches."""
        made, network = self._file.provenance.network, describe()
        if network.cls != made.cls:
            raise FRDiffError(
                f"The schedule {self._file.name} was calibrated for a network of class {_class(made.cls)}, and this "
                f"model's is {_class(network.cls)}. Choose a schedule made for it, or calibrate with FRDiff Auto-FR."
            )
        if network.architecture != made.architecture:
            raise FRDiffError(
                f"The schedule {self._file.name} was calibrated for another {_class(made.cls)} with other layer sizes. "
                "Choose a schedule made for this model, or calibrate with FRDiff Auto-FR."
            )
        if network.weights != made.weights:
            return OTHER_WEIGHTS.of(file=self._file.name)
        return OTHER_PATCHES.of(file=self._file.name) if network.patches != made.patches else None

    def shortfall(self, run: SamplingRun) -> Reason | None:
        """How far this run is from the calibrated one, None where they are the same."""
        file = self._file
        if self._other_kind(run):
            return OTHER_KIND.of(file=file.name, **(MORE_CALLS if run.step_of_evaluation else ADDED_NOISE))
        if self.point.source != CALIBRATED:
            return NOT_BETTER.of(speedup=self.speedup, file=file.name)
        if run.length < 1 or same_times(file.times, run.times):
            return None
        apart = distance(file.times, run.times)
        return CARRIED_OVER.of(file=file.name, made_steps=file.steps, steps=run.length, apart=apart)

    @property
    def _file(self) -> ScheduleFile:
        assert self.file is not None
        return self.file

    @property
    def _prior(self) -> PriorSchedule:
        options = replace(DIAL_OPTIONS, budget_mb=self.options.budget_mb)
        return PriorSchedule(self.name, options, speedup=self.speedup)

    def _other_kind(self, run: SamplingRun) -> bool:
        # That a sampler adds no noise is never certain while it runs.
        return bool(run.step_of_evaluation) or (run.stochastic and not self._file.stochastic)


def calibrated(file: ScheduleFile, speedup: float) -> CalibratedSchedule:
    """The schedule of a file for a speed-up in network time."""
    options = replace(FILE_OPTIONS, forecaster=file.forecaster)
    made = CalibratedSchedule(f"{file.name} {speedup:g}x", options, speedup=speedup, file=file)
    point = made.point
    used = {"repair": point.repair} if point.source == CALIBRATED else {
        "forecaster": DIAL_OPTIONS.forecaster, "repair": DIAL_OPTIONS.repair}  # fmt: skip
    return replace(made, options=replace(options, **used))


def resample(kinds: Sequence[StepKind], made: Sequence[float], times: Sequence[float]) -> list[StepKind]:
    """Carry `kinds`, made for flow times `made`, over to a run with other `times`, at the same share of full steps.

    Between two full steps the made run computes at a constant rate per step; the new run computes where
    that rate, carried over by flow time, adds up to the next whole number (docs/math.md, equation 2.12). The same times
    give the same kinds.
    """
    steps = len(times) - 1
    if same_times(made, times):
        return list(kinds)
    full = [i for i, kind in enumerate(kinds) if kind is StepKind.FULL]
    count = min(max(round(steps * len(full) / len(kinds)), 1), steps)
    # Steps of the made run at which the new run's times are reached; np.interp wants rising ones.
    reached = np.interp(-np.asarray(times), -np.asarray(made), np.arange(len(made)))
    computed = np.interp(reached, [*full, len(kinds)], np.arange(len(full) + 1))
    rate = np.diff(computed) / np.maximum(np.diff(reached), ROUNDING)
    total = np.concatenate(([0.0], np.cumsum(_scaled(rate, count, times[0] < made[0] - SAME_TIMES))))
    whole = np.ceil(total - ROUNDING * len(kinds))
    others = [kind for kind in kinds if kind is not StepKind.FULL]
    between = max(set(others), key=others.count) if others else StepKind.FULL
    return [StepKind.FULL if i == 0 or whole[i + 1] > whole[i] else between for i in range(steps)]


def same_times(made: Sequence[float], times: Sequence[float]) -> bool:
    """Whether two runs have the same noise levels."""
    return len(made) == len(times) and max(abs(a - b) for a, b in zip(made, times, strict=True)) <= SAME_TIMES


def distance(made: Sequence[float], times: Sequence[float]) -> float:
    """The greatest difference in flow time of two runs at the same part of their steps."""
    parts = np.linspace(0, 1, 101)
    levels = [np.interp(parts, np.linspace(0, 1, len(run)), run) for run in (made, times)]
    return float(np.abs(levels[0] - levels[1]).max())


def _scaled(rate: np.ndarray, count: int, late_start: bool) -> np.ndarray:
    """Rates (N,) of at most 1 in proportion to `rate` (N,) that add up to `count`.

    A run that starts late computes two steps.
    """
    fixed = np.zeros(len(rate))
    fixed[: min(2 if late_start else 1, count)] = 1.0
    low, high = 0.0, len(rate) / max(rate[rate > 0].min(initial=1.0), ROUNDING)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(rate * middle, fixed).clip(0, 1).sum() < count else (low, middle)
    return np.maximum(rate * high, fixed).clip(0, 1)


def _class(name: str) -> str:
    return name.rsplit(".", 1)[-1]
