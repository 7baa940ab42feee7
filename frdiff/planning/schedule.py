"""A schedule: the rule that plans a run, and the options with which its plan is carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..blocks.families import Family
from ..blocks.network_id import NetworkId
from ..engine import Part, RunFacts
from ..errors import FRDiffError
from ..forecasting.rules import CAUTIOUS, REUSE, Forecaster
from ..reasons import Reason
from .plan import Plan, StepKind
from .run import SamplingRun, sampling_run


@dataclass(frozen=True)
class RunOptions:
    """How a plan is carried out.

    `forecaster` answers for steps that are not computed, of raw outputs; `stochastic_forecaster`, of denoised latents
    where an adapting schedule's sampler adds noise. `guarded` lets a bad forecast turn the next skipped steps into full
    ones. `adapts` makes a new plan when the run shows that its sampler adds noise. `budget_mb` bounds the memory of
    remembered stages. `branches` remembers the branches of a block before their gates, where it offers them, instead
    of the whole block; `inner` leaves the first and the last stage fresh and prefers whole residuals, which is the
    better picture where noise is added. `repair`, from 0 to 1, is how much of the error of skipped steps is made good
    at the next computed one. `measures` leads forecasts back to repetition as far as the run shows that this is better.
    `families` are the known blocks, None for those of the table.
    """

    forecaster: Forecaster = REUSE
    stochastic_forecaster: Forecaster = CAUTIOUS
    guarded: bool = False
    adapts: bool = False
    budget_mb: float = 4096.0
    branches: bool = False
    inner: bool = False
    repair: float = 0.0
    measures: bool = False
    families: Mapping[str, Family] | None = None

    def __post_init__(self) -> None:
        if not self.budget_mb >= 0:
            raise FRDiffError(f"The cache budget is {self.budget_mb} MB; it must be 0 or more.")

    @property
    def needs_response(self) -> bool:
        """Whether it matters what the sampler does with the outputs."""
        return self.adapts or self.repair > 0 or self.forecaster.steady is not None

    @property
    def history(self) -> int:
        """How many outputs of a stream its forecasters can use."""
        rules = (self.forecaster, self.stochastic_forecaster) if self.adapts else (self.forecaster,)
        return max(rule.history for rule in rules)


@dataclass(frozen=True)
class Schedule:
    """Computes every step in full; others make plans of their own."""

    name: str
    options: RunOptions = RunOptions()

    def plan(self, run: SamplingRun) -> Plan:
        """What is done at each evaluation of a run."""
        return Plan.of([StepKind.FULL] * run.length, step_of_evaluation=run.step_of_evaluation)

    def shortfall(self, run: SamplingRun) -> Reason | None:
        """Why the plan cannot be what was asked for, None where it can."""
        return None

    def accept(self, describe: Callable[[], NetworkId]) -> Reason | None:
        """Raise FRDiffError when the schedule is for another network; return a note, None when there is none."""
        return None


def plan_of(schedule: Schedule, facts: RunFacts) -> Plan:
    """The plan of a run as it starts; empty where there is nothing to sample."""
    if not facts.sigmas:
        return Plan()
    response = facts.response if schedule.options.adapts else None
    return schedule.plan(sampling_run(facts.sigmas, facts.level_of, response, facts.parts))


def plans_around(schedule: Schedule, facts: RunFacts) -> tuple[Plan, Plan]:
    """The plans of the parts before a run and after it, as they make them by themselves; empty where there is none."""
    own, before, after = Part(tuple(facts.sigmas)), facts.before, facts.after
    first = replace(facts, sigmas=before.sigmas, response=before.response, before=Part(), after=own)
    last = replace(facts, sigmas=after.sigmas, response=after.response, before=own, after=Part())
    return plan_of(schedule, first), plan_of(schedule, last)
