"""Run schedules against recorded runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..blocks.families import Family
from ..engine import NetworkCall, RunFacts, Sample
from ..forecasting.rules import KRIGING
from ..planning.plan import Plan, StepKind
from ..planning.run import SamplingRun
from ..planning.schedule import RunOptions, Schedule
from ..reporting.report import RunReport
from ..runtime.session import Session
from ..tensors import device_of, map_tensors
from ..typed import norm
from .trajectory import Trajectory


@dataclass(frozen=True)
class FixedSchedule(Schedule):
    """A plan that was made for one run."""

    fixed: Plan = Plan()

    def plan(self, run: SamplingRun) -> Plan:
        """The plan, whatever the run."""
        return self.fixed


class Rollout:
    """An engine that follows a plan, and takes what it has in common with a recorded run from the record.

    Up to the first step whose plan is not a plain full one, the run is the recorded one.
    """

    looks_at_inputs = True

    def __init__(
        self,
        plan: Plan,
        recorded: Trajectory | None,
        facts: RunFacts,
        families: Mapping[str, Family] | None = None,
        repair: float = 0.0,
    ) -> None:
        options = RunOptions(forecaster=KRIGING, adapts=True, inner=True, repair=repair, families=families)
        self._session = Session(FixedSchedule("roll-out", options, plan), facts)
        self._recorded = recorded.evaluations if recorded else []
        self._shared = plan.plain_start
        self._replays = True
        self._number = -1

    def reserve(self, output_bytes: int, stage_bytes: int) -> int:
        """What the plan remembers."""
        return self._session.reserve(output_bytes, stage_bytes)

    def begin_evaluation(self, sigma: float, x: object = None) -> None:
        """Start an evaluation with input `x` (B, C, ...)."""
        self._session.begin_evaluation(sigma, x)
        self._number += 1
        known = self._recorded[self._number] if self._number < len(self._recorded) else None
        self._replays = self._replays and known is not None and known.step < self._shared and known.sigma == sigma

    def end_evaluation(self, denoised: object) -> None:
        """Note what the sampler gets, (B, C, ...)."""
        self._session.end_evaluation(denoised)

    def call(self, call: NetworkCall) -> Any:
        """Answer one network call."""
        output = self._recorded[self._number].outputs.get(call.stream) if self._replays else None
        if output is None:
            return self._session.call(call)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            device = device_of((args, kwargs))
            return map_tensors(lambda tensor: tensor.to(device, copy=True), output)

        # The session computes with what stands in the network's place.
        return replace(call, run=lambda: self._session.call(call)).answered_by(recorded)

    def close(self, finished: bool = True) -> RunReport:
        """End the run."""
        return self._session.close(finished)


def roll_out(
    sample: Sample,
    plan: Plan,
    trajectory: Trajectory,
    families: Mapping[str, Family] | None = None,
    repair: float = 0.0,
) -> torch.Tensor:
    """The final latent (B, C, ...) of the recorded run when it follows `plan` instead, with `repair` (RunOptions)."""

    def make(facts: RunFacts) -> Rollout:
        return Rollout(plan, trajectory, facts, families, repair)

    return sample(make, trajectory.seed, None).detach().cpu()


def final_error(final: torch.Tensor, truth: torch.Tensor) -> float:
    """Relative L2 distance of two final latents of the same shape (docs/math.md, equation 6.3)."""
    apart, size = norm(final.double() - truth.double()), norm(truth.double())
    return float(apart / size.clamp(min=1e-30))


def plain_run(sample: Sample, seed: int, steps: int | None = None) -> torch.Tensor:
    """The final latent (B, C, ...) of an ordinary run."""

    def make(facts: RunFacts) -> Rollout:
        count = len(facts.sigmas) - 1
        return Rollout(Plan.of([StepKind.FULL] * count), None, facts)

    return sample(make, seed, steps).detach().cpu()
