"""Which solver step an evaluation belongs to, and what is done there, as the run shows more of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch

from ..planning.schedule import Plan, Schedule, StepKind, StepPlan, counts, course_of, longest_gap
from ..reporting.report import StepRecord
from ..sampler.response import Rehearsal
from ..sampler.watch import SolverWatch
from .guard import Guard

# Sigmas come back from the sampler with rounding errors of single precision.
SIGMA_TOLERANCE = 1e-4
# How near a step's own noise level its first evaluation is.
GRID_TOLERANCE = 1e-3
# In evaluations per step of the longest gap: how old a remembered output may be when the sampler does not
# follow the steps' own order.
MAX_AGE_PER_STEP = 4

OWN_LEVELS = "Steps were computed in full: the sampler chooses noise levels of its own, which no plan can know."
UPWARD = "Every step was computed in full: the noise levels do not go down from step to step."
SPLIT_AND_REMEMBERED = (
    "Every step was computed in full: the sampler uses the unconditional output by itself (CFG++) together with other "
    "outputs, which on a flow model leaves nothing to forecast. Fewer steps are the faster way."
)
SPLIT = "The sampler uses the unconditional output by itself (CFG++): with a cfg above 2, fewer steps serve better."
NOTHING_TO_SKIP = "The schedule has nothing to skip in a run of {} steps."
GUARDED = "{} planned skips were computed in full: the forecast before them was far from the truth."


class Planner:
    """Follows a run through its noise levels `sigmas` and gives each evaluation its part of the plan.

    `flow_time` maps a sigma to flow time, `region` is 1 where the sampler is free, `rehearsal` says what
    the sampler does where that is known.
    """

    def __init__(
        self,
        schedule: Schedule,
        sigmas: Sequence[float],
        flow_time: Callable[[float], float],
        region: torch.Tensor | None,
        rehearsal: Rehearsal | None,
    ) -> None:
        self.sigmas = [float(sigma) for sigma in sigmas]
        self._schedule = schedule
        self._rehearsal = rehearsal if schedule.adapts else None
        # What is known before the run need not be watched for.
        self._watch = SolverWatch(region) if schedule.adapts and rehearsal is None else None
        self.solver = rehearsal.solver(self.sigmas) if rehearsal else None
        self._flow_time = flow_time
        self._course = course_of(self.sigmas, flow_time, self._rehearsal)
        self._refusal = self._reason_to_refuse()
        self._evaluations: list[StepRecord] = []
        self._make_plan()
        self.guard = Guard(counts(self.plan)[StepKind.SKIP]) if schedule.guarded else None

    def begin(self, sigma: float, x: torch.Tensor | None) -> tuple[StepPlan, StepRecord]:
        """What to do in the evaluation that begins at `sigma` with input `x`, and its new record."""
        index = self._step_of(sigma)
        if x is not None and self._watch:
            self._watch.arrived(x)
            self._replan(index)
        planned = self._planned(index)
        step = planned if self._may_skip(planned) else StepPlan(StepKind.FULL)
        record = StepRecord(index, sigma, step.kind.value, planned.kind.value, step.mix)
        self._evaluations.append(record)
        return step, record

    def noted(self, denoised: torch.Tensor) -> None:
        """Note what the evaluation returned to the sampler."""
        if self._watch:
            self._watch.answered(denoised)

    def noted_call(self, result: object) -> None:
        """Note what one network call of the evaluation returned."""
        if self._watch and isinstance(result, torch.Tensor):
            self._watch.called(result)

    def reasons(self) -> Iterable[str]:
        """Sentences about what the plan could not do."""
        if self._refusal:
            yield self._refusal
        elif self._rehearsal.takes_parts if self._rehearsal else self._watch and self._watch.uses_parts:
            yield SPLIT
        if shortfall := self._schedule.shortfall(self._course):
            yield shortfall
        elif not self._refusal and all(step.kind is StepKind.FULL for step in self.plan):
            yield NOTHING_TO_SKIP.format(self.steps)
        if self.guard and self.guard.computed:
            yield GUARDED.format(self.guard.computed)

    @property
    def stochastic(self) -> bool | None:
        """Whether the sampler adds noise, None as long as nothing is known."""
        if self._rehearsal:
            return self._rehearsal.adds_noise
        return self._watch.stochastic if self._watch else None

    @property
    def steps(self) -> int:
        """The number of solver steps."""
        return max(len(self.sigmas) - 1, 0)

    @property
    def remembers(self) -> bool:
        """Whether the sampler is known to use outputs again in later steps."""
        return self._course.remembers

    @property
    def owners(self) -> tuple[int, ...]:
        """The solver step of each part of the plan, where it has one for each evaluation; else empty."""
        return self._course.owners

    def _reason_to_refuse(self) -> str | None:
        """Why nothing may be skipped, known before the run; None where it may."""
        if any(b > a for a, b in pairwise(self.sigmas)):
            return UPWARD
        # The noise levels of a flow model are its times.
        is_flow = abs(self._flow_time(0.5) - 0.5) <= SIGMA_TOLERANCE
        takes_parts = self._rehearsal is not None and self._rehearsal.takes_parts
        return SPLIT_AND_REMEMBERED if takes_parts and is_flow and (self.remembers or self.owners) else None

    def _planned(self, index: int) -> StepPlan:
        place = len(self._evaluations) if self.owners else self._owner(index)
        return self.plan[place] if place < len(self.plan) else StepPlan(StepKind.FULL)

    def _step_of(self, sigma: float) -> int:
        """The step that the next evaluation belongs to."""
        place = len(self._evaluations)
        if self.owners and not self._is_rehearsed(place, sigma):
            # Something between the sampler and the model asks more or less often: plan by steps from here on.
            self._course = replace(course_of(self.sigmas, self._flow_time), stochastic=bool(self.stochastic))
            self._make_plan()
        if self.owners:
            return self.owners[place]
        index = step_index(sigma, self.sigmas)
        self._refuse_strange_levels(index, sigma)
        return index

    def _is_rehearsed(self, place: int, sigma: float) -> bool:
        levels = self._rehearsal.sigmas if self._rehearsal else ()
        return place < len(levels) and abs(levels[place] - sigma) <= GRID_TOLERANCE * sigma

    def _owner(self, index: int) -> int:
        """The step whose plan an evaluation follows."""
        before = self._evaluations[-2:]
        if len(before) == 2 and before[0].sigma == before[1].sigma and index > before[1].step:
            # Heun and its kin finish a step at the noise level of the next, and then start the next there again.
            return before[1].step
        return index

    def _may_skip(self, step: StepPlan) -> bool:
        return step.kind is not StepKind.SKIP or self.guard is None or self.guard.allows_skip()

    def _refuse_strange_levels(self, index: int, sigma: float) -> None:
        """Refuse to skip for a sampler that enters a step elsewhere than at the step's own noise level."""
        last = self._evaluations[-1].step if self._evaluations else index
        own = self.sigmas[index] if index < len(self.sigmas) else sigma
        if self._refusal is None and index > last and abs(own - sigma) > GRID_TOLERANCE * own:
            self._refusal = OWN_LEVELS
            self._make_plan()

    def _replan(self, index: int) -> None:
        """Plan again, at step `index`, when the run has shown whether noise is added."""
        noisy = bool(self.stochastic)
        if noisy != self._course.stochastic:
            self._course = replace(self._course, stochastic=noisy, passed=index)
            self._make_plan()

    def _make_plan(self) -> None:
        schedule = Schedule("refused") if self._refusal else self._schedule
        self.plan: Plan = schedule.plan(self._course)
        self.max_age = MAX_AGE_PER_STEP * longest_gap(self.plan)
        self.keeps_stages = any(step.keeps_stages for step in self.plan)
        self.keeps_outputs = self.keeps_stages or any(step.kind is not StepKind.FULL for step in self.plan)


def step_index(sigma: float, sigmas: Sequence[float]) -> int:
    """The solver step that `sigma` belongs to: the last whose own sigma is not below it."""
    lowest = sigma * (1 - SIGMA_TOLERANCE)
    return next((step for step in range(len(sigmas) - 2, -1, -1) if sigmas[step] >= lowest), 0)
