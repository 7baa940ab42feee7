"""Follows a run through its plan: which solver step an evaluation belongs to, and what is done there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from ..engine import RunFacts
from ..forecasting.prediction import Prediction
from ..planning.plan import Plan, StepKind, StepPlan
from ..planning.run import sampling_run, with_ends, with_positions
from ..planning.schedule import Schedule
from ..reasons import (
    CFG_PP,
    CFG_PP_MULTISTEP,
    CHANGED,
    CONTRADICTED,
    NOTHING_TO_SKIP,
    OTHER_CACHE,
    OWN_LEVELS,
    SEVERAL,
    UNWATCHED,
    UPWARD,
    Reason,
)
from ..sampler.noise_levels import SIGMA_TOLERANCE, NoiseLevel
from ..sampler.recursion import LinearRecursion
from ..sampler.watch import SamplerWatch
from .guard import Guard
from .steps import StepOrder

# In evaluations per step of the longest gap: how old a remembered output may be when the sampler does not
# follow the steps' own order.
MAX_AGE_PER_STEP = 4


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the sampler.

    `number` counts from 1, `step` is the solver step. `planned` is what the plan says, `plan` what is done: a guard
    may refuse a skip. A remembered output may be `max_age` evaluations old. `tests` says that it comes after a skipped
    one, so that it shows how good forecasts are. `prediction` is what is remembered and forecast at its noise level,
    `rehearsed` says that the sampler is known to go there, be it up.
    """

    number: int
    step: int
    planned: StepPlan
    plan: StepPlan
    max_age: int
    tests: bool
    prediction: Prediction
    rehearsed: bool = False

    @property
    def level(self) -> NoiseLevel:
        """Its noise level."""
        return self.prediction.level

    @property
    def usual_age(self) -> int:
        """How old the plan lets a remembered output become, in evaluations, where each one is of the same calls."""
        return self.max_age // MAX_AGE_PER_STEP - 1

    @property
    def is_skipped(self) -> bool:
        """Whether nothing is to be computed."""
        return self.plan.kind is StepKind.SKIP


class PlanFollower:
    """Makes an Evaluation of each evaluation that a run begins, as the run shows more of itself."""

    def __init__(self, schedule: Schedule, facts: RunFacts) -> None:
        self.sigmas = [float(sigma) for sigma in facts.sigmas]
        self._schedule = schedule
        adapts = schedule.options.adapts
        self._response = facts.response if adapts else None
        self._watch = SamplerWatch(facts.region, self._response) if adapts else None
        self.recursion: LinearRecursion | None = facts.response.recursion(self.sigmas) if facts.response else None
        self._left_to_another = facts.other_cache
        self._level_of = facts.level_of
        self._run_of = partial(sampling_run, self.sigmas, facts.level_of, parts=facts.parts)
        self._run = self._run_of(self._response)
        self._order = StepOrder(self.sigmas, self._response.evaluations(self.sigmas) if self._response else None)
        self._distrusted, self._refusal = False, self._reason_to_refuse()
        self._evaluations: list[Evaluation] = []
        self._make_plan()
        self._guard = Guard() if schedule.options.guarded else None

    def begin(self, sigma: float, x: object) -> Evaluation:
        """The evaluation that begins at `sigma` with input `x` (B, C, ...), None where that is not known."""
        if not self._order.is_as_rehearsed(sigma):
            self._distrust_rehearsal()
        if x is not None and self._watch:
            self._watch.arrived(x)
            if self._response and self._watch.contradicted:
                self.refuse(CHANGED)
            if self._watch.contradicted or self._watch.lost:
                # What cannot be seen cannot be held against the rehearsal, either.
                self._distrust_rehearsal()
        step = self._step_of(sigma)
        self._replan(step)
        planned = self._planned(step)
        done = planned if self._may_skip(planned) else StepPlan(StepKind.FULL)
        # Raw outputs are remembered as they are, whatever they count for.
        prediction = Prediction(bool(self.stochastic), self._level_of(sigma))
        tests = self._guard is not None and any(each.planned.kind is StepKind.SKIP for each in self._evaluations[-1:])
        evaluation = Evaluation(
            len(self._evaluations) + 1, step, planned, done, self.max_age, tests, prediction, self._order.is_rehearsed
        )
        self._evaluations.append(evaluation)
        return evaluation

    def refuse(self, reason: Reason) -> None:
        """Compute everything from here on, for a reason that the run has shown."""
        if self._refusal is None:
            self._refusal = reason
            self._make_plan()

    def computed_instead(self) -> None:
        """Note that the newest evaluation is computed in full, whatever its plan says."""
        self._evaluations[-1] = replace(self._evaluations[-1], plan=StepPlan(StepKind.FULL))

    def noted(self, denoised: object) -> None:
        """Note what the evaluation returned to the sampler: of the input's shape, where the guider is sound."""
        if self._watch:
            self._watch.answered(denoised)

    def noted_call(self, result: object) -> None:
        """Note what one network call of the evaluation returned."""
        if self._watch:
            self._watch.called(result)

    def tested(self, error: float) -> None:
        """Note the relative error of the forecasts that a computed evaluation has tested."""
        if self._guard:
            self._guard.tested(error)

    def reasons(self) -> Iterable[Reason]:
        """What the plan could not do."""
        if self._refusal:
            yield self._refusal
        elif self.cfg_pp:
            yield CFG_PP
        if self._watch and self._watch.lost:
            yield UNWATCHED
        elif self._distrusted and not self._refusal:
            yield CONTRADICTED
        # What was refused has no plan that could be told.
        shortfall = None if self._refusal else self._schedule.shortfall(self._run)
        if shortfall:
            yield shortfall
        elif not self._refusal and all(kind is StepKind.FULL for kind in self.plan.kinds):
            yield NOTHING_TO_SKIP.of(steps=self.steps)
        if self._guard:
            yield from self._guard.reasons()

    @property
    def stochastic(self) -> bool | None:
        """Whether the sampler adds noise, None as long as nothing is known."""
        if self._response:
            return self._response.stochastic
        return self._watch.stochastic if self._watch else None

    @property
    def cfg_pp(self) -> bool:
        """Whether the sampler is known to take the outputs of single conditions."""
        return bool((known := self._response or self._watch) and known.cfg_pp)

    @property
    def steps(self) -> int:
        """The number of solver steps."""
        return max(len(self.sigmas) - 1, 0)

    @property
    def multistep(self) -> bool:
        """Whether the sampler is known to use outputs again in later steps."""
        return self._run.multistep

    def _reason_to_refuse(self) -> Reason | None:
        """Why nothing may be skipped, known before the run; None where it may."""
        if self._left_to_another:
            return OTHER_CACHE
        if any(b > a for a, b in pairwise(self.sigmas)):
            return UPWARD
        # The noise levels of a flow model are its times.
        is_flow = abs(self._level_of(0.5).time - 0.5) <= SIGMA_TOLERANCE
        several = self._run.multistep or self._run.step_of_evaluation
        return CFG_PP_MULTISTEP if self.cfg_pp and is_flow and several else None

    def _planned(self, step: int) -> StepPlan:
        steps = self.plan.step_of_evaluation
        place = self._order.place_in(steps) if self.plan.by_evaluation else self._step_to_follow(step)
        return self.plan[place] if place < len(self.plan) else StepPlan(StepKind.FULL)

    def _step_of(self, sigma: float) -> int:
        """The step that the next evaluation belongs to."""
        step, strange = self._order.step_of(sigma)
        if strange:
            self.refuse(OWN_LEVELS)
        return step

    def _distrust_rehearsal(self) -> None:
        """Go on as with a sampler of which nothing is known: the run is not as it was rehearsed."""
        if self._response is None:
            return
        self._response = self.recursion = None
        self._order.forget_rehearsal()
        if self._watch:
            self._watch.distrust()
        self._run = self._run_of()
        self._distrusted = True
        self._make_plan()

    def _step_to_follow(self, step: int) -> int:
        """The step whose plan an evaluation follows."""
        before = self._evaluations[-2:]
        if len(before) == 2 and before[0].level.sigma == before[1].level.sigma and step > before[1].step:
            # Heun and its kin finish a step at the noise level of the next, and then start the next there again.
            return before[1].step
        return step

    def _may_skip(self, step: StepPlan) -> bool:
        return step.kind is not StepKind.SKIP or self._guard is None or self._guard.allows_skip()

    def _replan(self, step: int) -> None:
        """Plan again, at a step, when the run has shown whether noise is added."""
        stochastic = bool(self.stochastic)
        if stochastic != self._run.stochastic:
            run = self._run if self._order.is_rehearsed else self._run_of()
            self._run = replace(run, stochastic=stochastic, passed=step, computed=self._computed_before(step))
            self._make_plan()
        if self._watch and self._order.has_several and not self._order.is_rehearsed:
            self._plan_for_several(stochastic, self._watch.lost)

    def _plan_for_several(self, stochastic: bool, lost: bool) -> None:
        """Plan a sampler that turns out to evaluate several times for a step, by what is seen of its first steps."""
        if lost:
            self.refuse(SEVERAL)
        positions = () if stochastic or self._run.step_of_evaluation else self._order.positions()
        if positions:
            self._run = with_positions(self._run, self.sigmas, self._level_of, positions)
            self._make_plan()
        elif not self._run.output_weight:
            self._run = with_ends(self._run)
            self._make_plan()

    def _computed_before(self, step: int) -> tuple[int, ...]:
        """The steps before one of which something was computed in full."""
        made = {each.step for each in self._evaluations if each.plan.kind is StepKind.FULL}
        return tuple(sorted(each for each in made if each < step))

    def _make_plan(self) -> None:
        self.plan: Plan = (Schedule("refused") if self._refusal else self._schedule).plan(self._run)
        self.max_age = MAX_AGE_PER_STEP * self.plan.longest_gap
