"""The impulse response of a sampler: what it makes of each output, known before the run (docs/math.md, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .recursion import LinearRecursion, SamplerEvaluations

# Of the first input's unit: weights below are what rounding in single precision leaves.
NEGLIGIBLE = 1e-5
GRID_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ImpulseResponse:
    """A sampler's run on unit impulses: the noise level of each evaluation and whether noise was added.

    `inputs` (N + 1, N + 1) has a row for each of the N evaluations' inputs and one for the result; what each is made
    of stands in its columns: of the first input, then of each output in turn (docs/math.md, equation 3.2). It is None
    where that is not linear.
    `cfg_pp` says that the sampler takes the outputs of single conditions, as CFG++ does; here they are all the same.
    """

    sigmas: tuple[float, ...]
    stochastic: bool
    inputs: np.ndarray | None = None
    cfg_pp: bool = False

    def recursion(self, sigmas: Sequence[float]) -> LinearRecursion | None:
        """The sampler as a recursion, None where it is not a linear one with an evaluation at each of `sigmas`."""
        steps = len(sigmas) - 1
        if self.inputs is None or self.cfg_pp or len(self.sigmas) != steps:
            return None
        if not np.allclose(self.sigmas, sigmas[:-1], rtol=GRID_TOLERANCE):
            return None
        a, made = self._made(np.arange(steps))
        b = np.where(np.abs(made) > NEGLIGIBLE, made, 0.0).tolist()
        return LinearRecursion(tuple(a.tolist()), tuple(tuple(row[: step + 1]) for step, row in enumerate(b)))

    def evaluations(self, sigmas: Sequence[float]) -> SamplerEvaluations | None:
        """What is evaluated in a run of `sigmas`; None where that is unknown or does not go down from step to step."""
        if self.inputs is None or not self.sigmas:
            return None
        # Some start their first step a little below its own noise level, where there is only noise.
        starts = [0, *self._starts(np.array(sigmas[1:-1]))]
        falls = all(b <= a * (1 + GRID_TOLERANCE) for a, b in pairwise(self.sigmas))
        if not falls or any(b <= a for a, b in pairwise(starts)):
            return None
        ends = [*starts[1:], len(self.sigmas)]
        spans = list(zip(starts, ends, strict=True))
        step_of_evaluation = [step for step, (start, end) in enumerate(spans) for _ in range(start, end)]
        made = np.abs(self._made(np.array(starts)[step_of_evaluation])[1])
        used = [_used(made, start, end) for start, end in spans]
        multistep = any((each[:start] > NEGLIGIBLE).any() for each, start in zip(used, starts, strict=True))
        output_weight = tuple(np.sum(used, axis=0).tolist())
        return SamplerEvaluations(self.sigmas, tuple(step_of_evaluation), output_weight, multistep)

    def _starts(self, sigmas: np.ndarray) -> list[int]:
        """The evaluations at which the steps from `sigmas` (S,) start, -1 where there is none.

        The last one there: Heun's method and its kin end a step at the noise level of the next. The middle of a very
        short step may be near as well.
        """
        apart = np.abs(np.array(self.sigmas) - sigmas[:, None])
        there = apart <= np.minimum(apart.min(axis=1), GRID_TOLERANCE * sigmas)[:, None]
        last = len(self.sigmas) - 1 - there[:, ::-1].argmax(axis=1)
        return np.where(there.any(axis=1), last, -1).tolist()

    def _made(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For what follows each evaluation: how much it keeps of its step's start (N,), and what outputs add (N, N).

        `starts` (N,) are the evaluations at which the steps started. What is kept shows in what went into both long
        ago, which no step adds again: the first input, or where the sampler has forgotten that, as some do at once on
        flow models, the oldest output (docs/math.md, equation 3.3).
        """
        assert self.inputs is not None
        there, after = self.inputs[starts], self.inputs[1:]
        sizes = np.abs(there)
        oldest = (sizes > NEGLIGIBLE * sizes.max(axis=1, keepdims=True)).argmax(axis=1)
        places = np.arange(len(starts)), oldest
        a = after[places] / there[places]
        return a, (after - a[:, None] * there)[:, 1:]


def _used(made: np.ndarray, start: int, end: int) -> np.ndarray:
    """How much a step uses of each output (N,): for the latent that it ends with, and for its own evaluations.

    `made` (N, N) is what follows each evaluation, `start` and `end` are the step's own (docs/math.md, equation 3.6).
    """
    used = made[end - 1]
    return used + sum(used[i] * made[i - 1] for i in range(start + 1, end))
