"""What Auto-FR finds out about a model, as it is kept in a file (docs/schedule_file.md)."""

from __future__ import annotations

from dataclasses import dataclass

from .forecast import KRIGING, Forecaster
from .provenance import Provenance
from .schedule import StepKind

CALIBRATED, PRIOR = "calibrated", "prior"


@dataclass(frozen=True)
class Point:
    """One schedule of the front.

    `cost` is its network time over that of the full run, `repair` that of its Schedule, `expected` the error that
    the search expects. `error`, `prior_error` and `fewer_error` are measured relative L2 errors of the final
    latent: this schedule's, the prior's at the same cost and that of a run with fewer steps, None where not
    measured. `source` is "prior" where the prior is used instead because this was not better.
    """

    kinds: tuple[StepKind, ...]
    cost: float
    expected: float
    source: str = CALIBRATED
    repair: float = 0.0
    error: float | None = None
    prior_error: float | None = None
    fewer_error: float | None = None


@dataclass(frozen=True)
class ScheduleFile:
    """A calibration: flow times of its steps, the front of schedules from many full steps to few, provenance.

    `times` are one more than there are steps, falling. `forced` steps are full in every point.
    `partial_cost` is the measured time of a partial step over a full one, None without partial steps.
    """

    name: str
    times: tuple[float, ...]
    points: tuple[Point, ...]
    provenance: Provenance
    forecaster: Forecaster = KRIGING
    forced: tuple[int, ...] = (0,)
    stochastic: bool = False
    partial_cost: float | None = None
    method: str = "search"
    held_out: int = 0
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """The steps it was calibrated with."""
        return len(self.times) - 1
