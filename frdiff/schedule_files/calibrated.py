"""A schedule with a file: the dial's plan, at a speed that was chosen by what the file says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..blocks.network_id import NetworkId
from ..errors import FRDiffError
from ..planning.prior import DIAL_OPTIONS, PriorSchedule
from ..planning.run import SamplingRun
from ..reasons import CARRIED_OVER, NO_FILE, OTHER_KIND, OTHER_PATCHES, OTHER_WEIGHTS, Reason
from .choice import Wish, chosen
from .model import ScheduleFile

# Noise levels this near in flow time are the same: samplers keep sigmas in single precision.
SAME_TIMES = 1e-4
KINDS = {True: "adds noise", False: "adds none"}


@dataclass(frozen=True)
class CalibratedSchedule(PriorSchedule):
    """The dial's schedule at a speed whose error was measured, with the repair of the file.

    Raises FRDiffError when `speedup` is below 1 or there is no file.
    """

    file: ScheduleFile | None = None

    def __post_init__(self) -> None:
        if self.file is None:
            raise FRDiffError("A calibrated schedule needs a schedule file.")
        super().__post_init__()

    def accept(self, describe: Callable[[], NetworkId]) -> Reason | None:
        """Raise FRDiffError for a network of another architecture; return a note for other weights or patches."""
        made, network = self._file.provenance.network, describe()
        if not fits(self._file, network):
            layers = " with other layer sizes" if network.cls == made.cls else ""
            raise FRDiffError(
                f"The schedule {self._file.name} was calibrated for a network of class {_class(made.cls)}, and this "
                f"model's is {_class(network.cls)}{layers}. Choose a schedule made for it, or calibrate with FRDiff "
                "Auto-FR."
            )
        if network.weights != made.weights:
            return OTHER_WEIGHTS.of(file=self._file.name)
        return OTHER_PATCHES.of(file=self._file.name) if network.patches != made.patches else None

    def shortfall(self, run: SamplingRun) -> Reason | None:
        """How far this run is from the calibrated ones; where it is like them, what the dial says."""
        file = self._file
        if run.length and run.stochastic != file.stochastic:
            return OTHER_KIND.of(file=file.name, made_for=KINDS[file.stochastic], this=KINDS[run.stochastic])
        times = _of_steps(run)
        if not run.length or same_times(file.times, times):
            return super().shortfall(run)
        apart = distance(file.times, times)
        return CARRIED_OVER.of(file=file.name, made_steps=file.steps, steps=run.steps, apart=apart)

    @property
    def _file(self) -> ScheduleFile:
        assert self.file is not None
        return self.file


@dataclass(frozen=True)
class UncalibratedSchedule(PriorSchedule):
    """The uncalibrated schedule where a file was to be found, and none fits; the report says so."""

    def accept(self, describe: Callable[[], NetworkId]) -> Reason | None:
        """That no file was found."""
        return NO_FILE.of(speedup=self.speedup)


def calibrated(file: ScheduleFile, wish: Wish) -> CalibratedSchedule:
    """The schedule that a wish means with a file; raises FRDiffError where the file cannot tell."""
    speedup = chosen(file, wish).speedup
    options = replace(DIAL_OPTIONS, repair=file.repair)
    return CalibratedSchedule(f"{file.name} {speedup:g}x", options, speedup=speedup, file=file)


def fits(file: ScheduleFile, network: NetworkId) -> bool:
    """Whether a file was made for a network of the same architecture."""
    made = file.provenance.network
    return (made.cls, made.architecture) == (network.cls, network.architecture)


def same_times(made: Sequence[float], times: Sequence[float]) -> bool:
    """Whether two runs have the same noise levels."""
    return len(made) == len(times) and max(abs(a - b) for a, b in zip(made, times, strict=True)) <= SAME_TIMES


def distance(made: Sequence[float], times: Sequence[float]) -> float:
    """The greatest difference in flow time of two runs at the same part of their steps."""
    parts = np.linspace(0, 1, 101)
    levels = [np.interp(parts, np.linspace(0, 1, len(run)), run) for run in (made, times)]
    return float(np.abs(levels[0] - levels[1]).max())


def _of_steps(run: SamplingRun) -> list[float]:
    """The flow times of the steps, the result's among them, of a run of one or several evaluations for a step."""
    steps = run.step_of_evaluation or range(run.length)
    first = [time for place, time in enumerate(run.times[:-1]) if not place or steps[place] != steps[place - 1]]
    return [*first, run.times[-1]]


def _class(name: str) -> str:
    return name.rsplit(".", 1)[-1]
