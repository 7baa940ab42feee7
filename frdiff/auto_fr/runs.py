"""Recorded runs of the same steps, and what they say of schedules before these are tried."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..forecasting.rules import KRIGING
from ..planning.plan import Plan, StepKind
from ..planning.prior import REPAIR, PriorSchedule
from ..schedule_files.model import Point
from .search import ForecastCost, Geometry, PartialCost, SegmentCosts, geometry, total_cost
from .trajectory import Trajectory

# Suppressing peaks against adding up: docs/findings_auto_fr.md.
PEAK = 2.0


class Runs:
    """Recorded runs; `gains` (N,) is how much farther an error at a step travels than the step's own move."""

    def __init__(self) -> None:
        self.recorded: list[Trajectory] = []
        self._geometries: list[Geometry] = []
        self._gains = np.ones(1)
        self._known_cost: SegmentCosts | None = None

    def add(self, trajectory: Trajectory) -> None:
        """Add a run; raises FRDiffError when the sampler did not evaluate every step."""
        self.recorded.append(trajectory)
        self._geometries.append(geometry(trajectory))
        self.gains = np.ones(self.steps)

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.recorded[0].times) - 1

    @property
    def gains(self) -> np.ndarray:
        """One per step, (N,)."""
        return self._gains

    @gains.setter
    def gains(self, gains: np.ndarray) -> None:
        """Measured ones, (N,)."""
        self._gains, self._known_cost = gains, None

    @property
    def stochastic(self) -> bool:
        """Whether the sampler adds noise."""
        return self.recorded[0].stochastic

    def cost(self, peak: float) -> SegmentCosts:
        """The cost of the steps between two keyframes."""
        return self._cost_of(self._geometries, self.gains, peak)

    def units(self, at: int, wide: int) -> list[float]:
        """For each run the sum of the own moves of the steps from `at`, when they are not computed."""
        unit = np.ones(self.steps)
        return [self._cost_of([run], unit, 1.0)(max(at - 2, 0), at - 1, at + wide) for run in self._geometries]

    def plan(self, keyframes: Sequence[int]) -> Plan:
        """A plan with these full steps, and the kind that suits the sampler between them."""
        return Plan.with_keyframes(keyframes, self.steps, StepKind.PARTIAL if self.stochastic else StepKind.SKIP)

    def point(self, plan: Plan) -> Point:
        """A plan with its cost, and the error that is expected of it."""
        cheap = self.recorded[0].partial_cost or 0.0
        return Point(plan.kinds, plan.cost(cheap), self.total(plan.keyframes) ** (1 / PEAK))

    def total(self, keyframes: Sequence[int]) -> float:
        """The expected cost of a whole run."""
        if self._known_cost is None:
            self._known_cost = self.cost(PEAK)
        return total_cost(self._known_cost, keyframes, self.steps)

    def prior(self, point: Point) -> Plan:
        """What needs no calibration, at the cost of a point."""
        return PriorSchedule("prior", speedup=1 / point.cost).plan(self.recorded[0].run)

    @property
    def prior_repair(self) -> float:
        """The repair that belongs to it."""
        return REPAIR

    def _cost_of(self, runs: list[Geometry], gains: np.ndarray, peak: float) -> SegmentCosts:
        """The cost on some of the runs, with `gains` (N,)."""
        if self.stochastic:
            return PartialCost(runs, gains, peak)
        return ForecastCost(runs, gains, KRIGING.weights_for(self.recorded[0].run.multistep), peak)
