"""A schedule from a file, for any speed-up and carried over to any run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import FRDiffError
from ..forecasting.rules import KRIGING
from ..planning.prior import PriorSchedule
from ..planning.schedule import Course, Plan, Schedule, StepKind, plan_of
from .model import CALIBRATED, Point, ScheduleFile
from .network_id import Network

# Noise levels this near in flow time are the same: samplers keep sigmas in single precision.
SAME_TIMES = 1e-4
ROUNDING = 1e-9

OTHER_KIND = "The schedule {} was calibrated for {}, and this one {}: it gets the uncalibrated schedule."
MORE_CALLS = ("a sampler that evaluates once for each step", "evaluates more often")
ADDED_NOISE = ("a deterministic sampler", "adds noise")


@dataclass(frozen=True)
class CalibratedSchedule(Schedule):
    """The point of a file's front nearest to `speedup`, carried over to the run.

    On other noise levels partial steps are resampled, and forecasts placed like the prior's, with the file's repair.
    Where the file says that the prior was better, or the sampler adds noise or evaluates more than once for a step and
    the file's did not, it plans like the prior. Raises FRDiffError when `speedup` is below 1 or there is no file.
    """

    guarded: bool = True
    adapts: bool = True
    inner: bool = True
    speedup: float = 2.0
    file: ScheduleFile | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.file is None:
            raise FRDiffError("A calibrated schedule needs a schedule file.")
        if not 1 <= self.speedup < float("inf"):
            raise FRDiffError(f"The speed-up is {self.speedup}; it must be 1 (off) or more.")

    def plan(self, course: Course) -> Plan:
        """The file's schedule for this run."""
        file, point = self._file, self.point
        if course.steps < 1:
            return ()
        if point.source != CALIBRATED or self._other_kind(course):
            return self._prior.plan(course)
        if file.forecaster == KRIGING and not file.stochastic and not same_times(file.times, course.times):
            # Where forecasts are best depends on the very steps; the repair carries over (docs/findings_auto_fr.md).
            return self._prior.plan(course)
        kinds = resample(point.kinds, file.times, course.times)
        return plan_of([(kind, 1.0) for kind in kinds])

    @property
    def point(self) -> Point:
        """The point of the front nearest to the dial."""
        return min(self._file.points, key=lambda point: (abs(point.cost - 1 / self.speedup), point.cost))

    def accept(self, describe: Callable[[], Network]) -> str | None:
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
            return f"The schedule {self._file.name} was calibrated with other weights of the same architecture."
        if network.patches != made.patches:
            return (
                f"The LoRAs or other patches of this model's weights are not those that the schedule {self._file.name} "
                "was calibrated with."
            )
        return None

    def shortfall(self, course: Course) -> str | None:
        """A sentence on how far this run is from the calibrated one, None where they are the same."""
        file = self._file
        if self._other_kind(course):
            return OTHER_KIND.format(file.name, *(MORE_CALLS if course.owners else ADDED_NOISE))
        if self.point.source != CALIBRATED:
            return f"At {self.speedup:g}x nothing in {file.name} is known to be better than the uncalibrated schedule."
        if course.steps < 1 or same_times(file.times, course.times):
            return None
        return (
            f"The schedule {file.name} was calibrated with {file.steps} steps and carried over to {course.steps}; "
            f"the noise levels lie up to {distance(file.times, course.times):.2f} apart in flow time."
        )

    @property
    def _file(self) -> ScheduleFile:
        assert self.file is not None
        return self.file

    @property
    def _prior(self) -> PriorSchedule:
        return PriorSchedule(self.name, speedup=self.speedup, budget_mb=self.budget_mb)

    def _other_kind(self, course: Course) -> bool:
        # That a sampler adds no noise is never certain while it runs.
        return bool(course.owners) or (course.stochastic and not self._file.stochastic)


def calibrated(file: ScheduleFile, speedup: float) -> CalibratedSchedule:
    """The schedule of a file for a speed-up in network time."""
    made = CalibratedSchedule(f"{file.name} {speedup:g}x", file.forecaster, speedup=speedup, file=file)
    if made.point.source == CALIBRATED:
        return replace(made, repair=made.point.repair)
    return replace(made, forecaster=PriorSchedule.forecaster, repair=PriorSchedule.repair)


def resample(kinds: Sequence[StepKind], made: Sequence[float], times: Sequence[float]) -> list[StepKind]:
    """Carry `kinds`, made for flow times `made`, over to a run with other `times`, at the same share of full steps.

    Between two full steps the made run computes at a constant rate per step; the new run computes where
    that rate, carried over by flow time, adds up to the next whole number. The same times give the same kinds.
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
    """Rates of at most 1 in proportion to `rate` that add up to `count`; a run that starts late computes two steps."""
    fixed = np.zeros(len(rate))
    fixed[: min(2 if late_start else 1, count)] = 1.0
    low, high = 0.0, len(rate) / max(rate[rate > 0].min(initial=1.0), ROUNDING)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(np.maximum(rate * middle, fixed), 0, 1).sum() < count else (low, middle)
    return np.clip(np.maximum(rate * high, fixed), 0, 1)


def _class(name: str) -> str:
    return name.rsplit(".", 1)[-1]
