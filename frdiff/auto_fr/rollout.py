"""Run schedules against recorded runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch

from ..blocks.families import Family
from ..engine import RunFacts
from ..forecasting.rules import KRIGING
from ..forward_patch import swapped
from ..planning.schedule import Course, Plan, Schedule, StepKind
from ..reporting.report import RunReport
from ..runtime.ordinals import Ordinals
from ..runtime.session import Session
from .host import Sample
from .recorder import each_tensor
from .refine import plan_between
from .trajectory import Trajectory


@dataclass(frozen=True)
class FixedSchedule(Schedule):
    """A plan that was made for one run."""

    fixed: Plan = ()

    def plan(self, course: Course) -> Plan:
        """The plan, whatever the run."""
        return self.fixed


class Rollout:
    """An engine that follows a plan, and takes what it has in common with a recorded run from the record.

    Up to the first step whose plan is not a plain full one, the run is the recorded one.
    """

    def __init__(
        self,
        plan: Plan,
        recorded: Trajectory | None,
        facts: RunFacts,
        families: dict[str, Family] | None = None,
        repair: float = 0.0,
    ) -> None:
        schedule = FixedSchedule("roll-out", KRIGING, adapts=True, inner=True, repair=repair, fixed=plan)
        self._session = Session(
            schedule, facts.sigmas, facts.flow_time, families, facts.region, facts.rehearsal, facts.scales
        )
        self._recorded = recorded.evaluations if recorded else []
        self._shared = shared_steps(plan)
        self._replays = True
        self._number = -1
        self._ordinals = Ordinals()

    def begin_evaluation(self, sigma: float, x: torch.Tensor | None = None) -> None:
        """Start an evaluation."""
        self._session.begin_evaluation(sigma, x)
        self._number += 1
        self._ordinals.start()
        known = self._recorded[self._number] if self._number < len(self._recorded) else None
        self._replays = self._replays and known is not None and known.step < self._shared and known.sigma == sigma

    def end_evaluation(self, denoised: torch.Tensor) -> None:
        """Note what the sampler gets."""
        self._session.end_evaluation(denoised)

    def call(
        self, key: Hashable, network: torch.nn.Module, run: Callable[[], Any],
        compiled: torch.nn.Module | None = None, x: torch.Tensor | None = None,
    ) -> Any:  # fmt: skip
        """Answer one network call."""
        if not self._replays:
            return self._session.call(key, network, run, compiled, x)
        output = self._recorded[self._number].outputs.get(self._ordinals.numbered(key))
        entry = network if compiled is None else compiled
        forward = entry.forward

        def answered(*args: Any, **kwargs: Any) -> Any:
            if output is None:
                return forward(*args, **kwargs)
            device = next(v.device for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor))
            return each_tensor(lambda tensor: tensor.to(device, copy=True), output)

        with swapped({entry: answered}, compiled is not None):
            return self._session.call(key, network, run, compiled, x)

    @property
    def report(self) -> RunReport:
        """What the run did."""
        return self._session.report

    def close(self) -> RunReport:
        """End the run."""
        return self._session.close()


def shared_steps(plan: Plan) -> int:
    """How many first steps of a plan are plainly computed in full."""
    changed = (i for i, step in enumerate(plan) if step.kind is not StepKind.FULL or step.keeps_stages)
    return next(changed, len(plan))


def roll_out(
    sample: Sample,
    plan: Plan,
    trajectory: Trajectory,
    families: dict[str, Family] | None = None,
    repair: float = 0.0,
) -> torch.Tensor:
    """The final latent of the recorded run when it follows `plan` instead, with `repair` (Schedule)."""

    def make(facts: RunFacts) -> Rollout:
        return Rollout(plan, trajectory, facts, families, repair)

    return sample(make, trajectory.seed, None).detach().cpu()


def final_error(final: torch.Tensor, truth: torch.Tensor) -> float:
    """Relative L2 distance of two final latents of the same shape."""
    apart, size = (final.double() - truth.double()).norm(), truth.double().norm()
    return float(apart / size.clamp(min=1e-30))


def plain_run(sample: Sample, seed: int, steps: int | None = None) -> torch.Tensor:
    """The final latent of an ordinary run."""

    def make(facts: RunFacts) -> Rollout:
        count = len(facts.sigmas) - 1
        return Rollout(plan_between(range(count), count, StepKind.SKIP), None, facts)

    return sample(make, seed, steps).detach().cpu()
