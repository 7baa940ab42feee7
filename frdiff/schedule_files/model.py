"""What Auto-FR finds out about a model, as it is kept in a file (docs/schedule_file.md)."""

from __future__ import annotations

from dataclasses import dataclass

from ..blocks.network_id import NetworkId
from ..forecasting.rules import KRIGING, Forecaster
from ..planning.plan import StepKind

VERSION = "0.1.0"
CALIBRATED, PRIOR = "calibrated", "prior"


@dataclass(frozen=True)
class Provenance:
    """What a schedule was calibrated with; `size` is the latent's shape without its batch, like `16x16x16`."""

    network: NetworkId
    prediction: str
    sampler: str
    scheduler: str
    cfg: float
    size: str
    stages: int
    version: str
    date: str


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
class Milliseconds:
    """What an evaluation took on the machine of the calibration: in full, in part where that was tried, and its stages.

    A stage is named by its path in the network.
    """

    full: float
    partial: float | None = None
    stages: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Move:
    """A change that made a schedule of `full` full steps better: one of them moved from step `before` to step `after`.

    `error` is the relative L2 error of the final latent after it, on the recorded runs.
    """

    full: int
    before: int
    after: int
    error: float


@dataclass(frozen=True)
class ScheduleFile:
    """A calibration: flow times of its steps, the front of schedules from many full steps to few, provenance.

    `times` are one more than there are steps, falling. `forced` steps are full in every point.
    `partial_cost` is the measured time of a partial step over a full one, None without partial steps.
    `milliseconds` were measured, None where not known; `moves` were accepted by the refinement, in this order.
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
    milliseconds: Milliseconds | None = None
    moves: tuple[Move, ...] = ()

    @property
    def steps(self) -> int:
        """The steps it was calibrated with."""
        return len(self.times) - 1
