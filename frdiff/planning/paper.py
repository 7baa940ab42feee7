"""FRDiff's own schedules (arXiv 2312.03517): keyframes at an interval, partial steps and Score Mixing between them."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import FRDiffError
from .plan import Plan, StepKind
from .run import SamplingRun
from .schedule import Schedule


@dataclass(frozen=True)
class PaperSchedule(Schedule):
    """FRDiff's rule for any number of steps (arXiv 2312.03517, sections 3.2 and 3.3).

    `interval` is M: every M-th step is a keyframe; 1 computes every step. `t` and `b` are Score Mixing's
    slope and centre. `first_full` and `last_full` steps are computed whatever M says (the paper: 1 and 0). Without
    `partial` all steps between keyframes are skipped.
    Raises FRDiffError for numbers out of range.
    """

    interval: int = 2
    mixing: bool = True
    t: float = 30.0
    b: float = 0.5
    first_full: int = 1
    last_full: int = 0
    partial: bool = True

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise FRDiffError(f"The keyframe interval is {self.interval}; it must be 1 or more.")
        if self.first_full < 1 or self.last_full < 0:
            raise FRDiffError("At least the first step is computed, and the number of last steps cannot be negative.")

    def plan(self, run: SamplingRun) -> Plan:
        """Keyframes every `interval` steps, and between them Score Mixing or partial steps."""
        steps = [self._step(step, run.length) for step in range(run.length)]
        return Plan.of([kind for kind, _ in steps], [mix for _, mix in steps], run.step_of_evaluation)

    def _step(self, step: int, steps: int) -> tuple[StepKind, float]:
        if step % self.interval == 0 or step < self.first_full or step >= steps - self.last_full:
            return StepKind.FULL, 1.0
        if not self.partial:
            return StepKind.SKIP, 1.0
        mix = score_mixing_weight(step / steps, self.t, self.b) if self.mixing else 1.0
        return (StepKind.PARTIAL if mix > 0 else StepKind.SKIP), mix


def score_mixing_weight(tau: float, t: float = 30.0, b: float = 0.5) -> float:
    """lambda, the weight of the partial score at tau = step / steps (arXiv 2312.03517; docs/math.md, equation 5.1)."""
    return min(max((t * (tau - b) + 2) / 4, 0.0), 1.0)
