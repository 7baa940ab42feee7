"""What is known of a sampling run when its steps are planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..sampler.noise_levels import LevelOf
from ..sampler.response import ImpulseResponse

# Longer runs of samplers that evaluate more than once for a step are planned by steps.
MOST_EVALUATIONS = 200
# Of a sampler with several evaluations for a step, of which nothing is known: so many steps are computed.
FIRST_STEPS, LAST_STEPS, MUCH = 2, 2, 1e3
MIDDLE_POWER = 1.5


@dataclass(frozen=True)
class SamplingRun:
    """The evaluations to plan: one for each solver step, or as many as the sampler is known to make.

    `times` are the flow times at which they take place, from 1 (noise) to 0 (data), and that of the result.
    `stochastic` says that the sampler adds fresh noise; `passed` steps were made before this was known, those
    of `computed` among them in full.
    `output_weight` is how much of each denoised latent the sampler uses in all, `error_weight` how far a unit of error
    in the raw output moves the latent, in flow time (docs/math.md, equation 3.5); empty where that is not known.
    `memoryless` says that each latent is made of the newest output alone, `multistep` that outputs are used again in
    later steps, `keeps_noise` that a sampler which adds noise keeps most of what is there. Where a step has several
    evaluations, `step_of_evaluation` are the steps that they belong to.
    `before` and `after` are the flow times of the parts that the same run is sampled in besides this one.
    """

    times: tuple[float, ...]
    stochastic: bool = False
    passed: int = 0
    computed: tuple[int, ...] = ()
    output_weight: tuple[float, ...] = ()
    error_weight: tuple[float, ...] = ()
    memoryless: bool = False
    multistep: bool = False
    keeps_noise: bool = False
    step_of_evaluation: tuple[int, ...] = ()
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()

    @property
    def length(self) -> int:
        """The number of evaluations to plan."""
        return max(len(self.times) - 1, 0)

    @property
    def steps(self) -> int:
        """The number of solver steps."""
        return self.step_of_evaluation[-1] + 1 if self.step_of_evaluation else self.length

    @property
    def evaluations_per_step(self) -> float:
        """Evaluations for each solver step, on average."""
        return len(self.step_of_evaluation) / self.steps if self.step_of_evaluation else 1.0


def sampling_run(
    sigmas: Sequence[float], level_of: LevelOf, response: ImpulseResponse | None = None,
    parts: tuple[Sequence[float], Sequence[float]] = ((), ()),
) -> SamplingRun:  # fmt: skip
    """What is known before a run of `sigmas`, one more than there are steps (docs/math.md, equation 3.5).

    `parts` are the noise levels of what is sampled before it and after it.
    """
    times, before, after = (tuple(level_of(sigma).time for sigma in levels) for levels in (sigmas, *parts))
    stochastic = bool(response and response.stochastic)
    alone = SamplingRun(times, stochastic, before=before, after=after)
    known = response.evaluations(sigmas) if response else None
    if response is None or known is None or len(known.sigmas) > MOST_EVALUATIONS:
        return alone
    recursion = response.recursion(sigmas)
    lengths = [_length_in_use(times, sigmas, step) for step in known.step_of_evaluation]
    return replace(
        alone,
        times=(*(level_of(sigma).time for sigma in known.sigmas), times[-1]),
        output_weight=known.output_weight,
        error_weight=tuple(length * used for length, used in zip(lengths, known.output_weight, strict=True)),
        memoryless=recursion is not None and recursion.memoryless,
        multistep=known.multistep,
        keeps_noise=recursion is not None and _keeps_noise(recursion.a[0], sigmas),
        step_of_evaluation=known.step_of_evaluation if len(known.sigmas) > len(times) - 1 else (),
    )


def _keeps_noise(kept: float, sigmas: Sequence[float]) -> bool:
    """Whether a first step that keeps so much of its latent adds less noise than half of an ancestral one.

    A sampler without fresh noise keeps `sigma' / sigma`, an ancestral one the square (docs/math.md, equation 3.1).
    """
    return sigmas[1] > 0 and kept > (sigmas[1] / sigmas[0]) ** MIDDLE_POWER


def with_ends(run: SamplingRun) -> SamplingRun:
    """The run as one in which what the first and last steps are answered counts more than all else."""
    inner = range(FIRST_STEPS, run.steps - LAST_STEPS)
    steps = run.step_of_evaluation or range(run.length)
    emphasis = tuple(1.0 if step in inner else MUCH for step in steps)
    lengths = [abs(a - b) for a, b in pairwise(run.times)]
    weights = tuple(length * much for length, much in zip(lengths, emphasis, strict=True))
    return replace(run, output_weight=emphasis, error_weight=weights)


def with_positions(
    run: SamplingRun, sigmas: Sequence[float], level_of: LevelOf, positions: Sequence[float]
) -> SamplingRun:
    """The run with the evaluations of a step at these positions between its start (0) and the next one's (1).

    The step that ends without noise has one evaluation. Each counts for an equal share of its step.
    """
    steps = len(sigmas) - 1
    spread = [(step, place) for step in range(steps - 1) for place in positions] + [(steps - 1, 0.0)]
    levels = [sigmas[step] * (sigmas[step + 1] / sigmas[step]) ** place if place else sigmas[step]
              for step, place in spread]  # fmt: skip
    times = (*(level_of(sigma).time for sigma in levels), run.times[-1])
    return with_ends(replace(run, times=times, step_of_evaluation=tuple(step for step, _ in spread)))


def _length_in_use(times: Sequence[float], sigmas: Sequence[float], step: int) -> float:
    """A step's length in flow time over Euler's use of its denoised latent (docs/math.md, equation 3.5)."""
    used = 1 - sigmas[step + 1] / sigmas[step]
    return abs(times[step] - times[step + 1]) / used if used > 0 else abs(times[step] - times[step + 1])
