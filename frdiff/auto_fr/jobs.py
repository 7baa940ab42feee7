"""The sampling runs of a calibration as data, so that they can be made here or elsewhere, in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..blocks.families import Family
from ..engine import Sample
from ..planning.plan import Plan
from .recorder import record
from .rollout import final_error, plain_run, roll_out
from .trajectory import Trajectory

Families = Mapping[str, Family] | None


@dataclass(frozen=True)
class Recording:
    """Make a full run; partial steps are tried from every so many steps on (Recorder)."""

    seed: int
    anchor_every: int = 0
    truth: None = None

    def done(self, sample: Sample, families: Families) -> Trajectory:
        """The record."""
        return record(sample, self.seed, families, self.anchor_every)


@dataclass(frozen=True)
class Trial:
    """Run a plan with a repair in place of a recorded run, `truth`."""

    truth: Trajectory | None
    plan: Plan
    repair: float = 0.0

    def done(self, sample: Sample, families: Families) -> float:
        """The relative L2 error of the final latent."""
        assert self.truth is not None
        return final_error(roll_out(sample, self.plan, self.truth, families, self.repair), self.truth.final)


@dataclass(frozen=True)
class FewerSteps:
    """Make an ordinary run of fewer steps in place of a recorded run, `truth`."""

    truth: Trajectory | None
    steps: int

    def done(self, sample: Sample, families: Families) -> float:
        """The relative L2 error of the final latent."""
        assert self.truth is not None
        return final_error(plain_run(sample, self.truth.seed, self.steps), self.truth.final)


Job = Recording | Trial | FewerSteps
# Gives the results in the order of the jobs; what is not asked for need not be done.
Do = Callable[[Sequence[Job]], Iterator]


def in_turn(sample: Sample, families: Families = None) -> Do:
    """Do each job here, when its result is asked for."""

    def do(jobs: Sequence[Job]) -> Iterator:
        return (job.done(sample, families) for job in jobs)

    return do
