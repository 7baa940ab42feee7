"""What happens at each solver step: immutable data, and the paper's rules that make it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from ..errors import FRDiffError
from ..forecasting.rules import CAUTIOUS, REUSE, Forecaster
from ..sampler.response import Rehearsal
from ..schedule_files.network_id import Network

# Longer runs of samplers that evaluate more than once for a step are planned by steps.
MOST_EVALUATIONS = 200


class StepKind(Enum):
    """How much of the network runs at a step."""

    FULL = "full"
    PARTIAL = "partial"
    SKIP = "skip"


@dataclass(frozen=True)
class StepPlan:
    """One step: its kind, the weight `mix` (lambda) of the fresh score, and whether stages are remembered."""

    kind: StepKind
    mix: float = 1.0
    keeps_stages: bool = False


Plan = tuple[StepPlan, ...]


@dataclass(frozen=True)
class Course:
    """What is known of a sampling run when its steps are planned.

    `times` are the noise levels as flow times `s / (1 + s)` with `s = sigma / alpha`, from 1 (noise) to 0 (data),
    one more than there are steps. `stochastic` says that the sampler adds fresh noise; `passed` steps were made before
    this was known. `uses` is how much of each step's denoised latent the sampler takes in all, `moves` how far a unit
    of error in its raw output moves the latent, in flow time; empty where that is not known. `forgets` says that each
    latent is made of the newest output alone, `remembers` that outputs are used again in later steps. Where the sampler
    is known to evaluate more than once for a solver step, the evaluations take the place of steps, and `owners` are the
    solver steps that they belong to.
    """

    times: tuple[float, ...]
    stochastic: bool = False
    passed: int = 0
    uses: tuple[float, ...] = ()
    moves: tuple[float, ...] = ()
    forgets: bool = False
    remembers: bool = False
    owners: tuple[int, ...] = ()

    @property
    def steps(self) -> int:
        """The number of steps to plan."""
        return max(len(self.times) - 1, 0)

    @property
    def calls_per_step(self) -> float:
        """Evaluations for each solver step, on average."""
        return len(self.owners) / (self.owners[-1] + 1) if self.owners else 1.0


@dataclass(frozen=True)
class Schedule:
    """What every schedule says besides its plan.

    `forecaster` answers for steps that are not computed, of raw outputs; `noisy_forecaster`, of denoised latents where
    an adapting schedule's sampler adds noise; `guarded` lets a bad forecast turn the next skipped
    steps into full ones; `adapts` makes a new plan when the run shows that its sampler adds noise;
    `budget_mb` bounds the memory of remembered stages. `finer` remembers the branches of a block before
    their gates, where it offers them, instead of the whole block; `inner` leaves the first and the last stage
    fresh and prefers whole residuals, which is the better picture where noise is added. `repair`, from 0 to 1, is
    how much of the error of skipped steps is made good at the next computed one.
    """

    name: str
    forecaster: Forecaster = REUSE
    noisy_forecaster: Forecaster = CAUTIOUS
    guarded: bool = False
    adapts: bool = False
    budget_mb: float = 4096.0
    finer: bool = False
    inner: bool = False
    repair: float = 0.0

    def __post_init__(self) -> None:
        if not self.budget_mb >= 0:
            raise FRDiffError(f"The cache budget is {self.budget_mb} MB; it must be 0 or more.")

    @property
    def needs_rehearsal(self) -> bool:
        """Whether it matters what the sampler does with the outputs."""
        return self.adapts or self.repair > 0 or self.forecaster.steady is not None

    def plan(self, course: Course) -> Plan:
        """The plan of each solver step: here, all in full."""
        return tuple(StepPlan(StepKind.FULL) for _ in range(course.steps))

    def shortfall(self, course: Course) -> str | None:
        """Why the plan cannot be as fast as was asked, as a sentence; None where it can."""
        return None

    def accept(self, describe: Callable[[], Network]) -> str | None:
        """Raise FRDiffError when the schedule is for another network; return a note, None when there is none."""
        return None


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
        super().__post_init__()
        if self.interval < 1:
            raise FRDiffError(f"The keyframe interval is {self.interval}; it must be 1 or more.")
        if self.first_full < 1 or self.last_full < 0:
            raise FRDiffError("At least the first step is computed, and the number of last steps cannot be negative.")

    def plan(self, course: Course) -> Plan:
        """Keyframes every `interval` steps, and between them Score Mixing or partial steps."""
        return plan_of([self._step(step, course.steps) for step in range(course.steps)])

    def _step(self, step: int, steps: int) -> tuple[StepKind, float]:
        if step % self.interval == 0 or step < self.first_full or step >= steps - self.last_full:
            return StepKind.FULL, 1.0
        if not self.partial:
            return StepKind.SKIP, 1.0
        mix = score_mixing_weight(step / steps, self.t, self.b) if self.mixing else 1.0
        return (StepKind.PARTIAL if mix > 0 else StepKind.SKIP), mix


def course_of(
    sigmas: Sequence[float], flow_time: Callable[[float], float], rehearsal: Rehearsal | None = None
) -> Course:
    """What is known before a run of `sigmas`; `flow_time` maps a sigma to flow time."""
    times = tuple(flow_time(sigma) for sigma in sigmas)
    noisy = bool(rehearsal and rehearsal.adds_noise)
    known = rehearsal.evaluations(sigmas) if rehearsal else None
    if rehearsal is None or known is None or len(known.steps) > MOST_EVALUATIONS:
        return Course(times, noisy)
    solver = rehearsal.solver(sigmas)
    lengths = [_length_in_use(times, sigmas, step) for step in known.steps]
    return Course(
        (*(flow_time(sigma) for sigma in known.sigmas), times[-1]),
        noisy,
        uses=known.uses,
        moves=tuple(length * used for length, used in zip(lengths, known.uses, strict=True)),
        forgets=solver is not None and solver.forgets,
        remembers=known.remembers,
        owners=known.steps if len(known.steps) > len(times) - 1 else (),
    )


def _length_in_use(times: Sequence[float], sigmas: Sequence[float], step: int) -> float:
    """A step's length in flow time over what Euler's method uses of its denoised latent."""
    used = 1 - sigmas[step + 1] / sigmas[step]
    return abs(times[step] - times[step + 1]) / used if used > 0 else abs(times[step] - times[step + 1])


def plan_of(kinds: list[tuple[StepKind, float]]) -> Plan:
    """A plan from kinds and mixing weights; stages are remembered only where a partial step follows."""
    return tuple(
        StepPlan(kind, mix, keeps_stages=kind is StepKind.FULL and _partial_follows(kinds[step + 1 :]))
        for step, (kind, mix) in enumerate(kinds)
    )


def score_mixing_weight(tau: float, t: float = 30.0, b: float = 0.5) -> float:
    """Return lambda, the weight of the partial score at tau = step / steps (arXiv 2312.03517, Score Mixing)."""
    return min(max((t * (tau - b) + 2) / 4, 0.0), 1.0)


def counts(plan: Plan) -> dict[StepKind, int]:
    """How many steps of each kind a plan has."""
    return {kind: sum(step.kind is kind for step in plan) for kind in StepKind}


def counted_speedup(plan: Plan, partial_cost: float) -> float:
    """Steps divided by the network evaluations that they cost, a partial one costing `partial_cost` of a full one."""
    number = counts(plan)
    return len(plan) / (number[StepKind.FULL] + partial_cost * number[StepKind.PARTIAL])


def longest_gap(plan: Plan) -> int:
    """The greatest number of steps from one full step to the next."""
    full = [step for step, planned in enumerate(plan) if planned.kind is StepKind.FULL]
    ends = [*full[1:], len(plan)] if full else []
    return max((end - start for start, end in zip(full, ends, strict=True)), default=1)


def _partial_follows(later: list[tuple[StepKind, float]]) -> bool:
    """Whether a partial step comes before the next full one."""
    for kind, _ in later:
        if kind is not StepKind.SKIP:
            return kind is StepKind.PARTIAL
    return False
