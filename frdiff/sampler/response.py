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
# How far a noise level that the model is told may be from the sampler's own, in either direction, and how far outside
# of its step.
MOST_SHIFT, SLACK_OF_SHIFTED = 2.0, 1.5


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
        if self.inputs is None or self.cfg_pp or len(self.inputs) != len(self.sigmas) + 1:
            return None
        starts = self._starts_of_steps(sigmas)
        if starts is None or len(starts) < len(self.sigmas):
            return None
        a, made = self._made(np.array(starts))
        b = np.where(np.abs(made) > NEGLIGIBLE, made, 0.0).tolist()
        return LinearRecursion(tuple(a.tolist()), tuple(tuple(row[: step + 1]) for step, row in enumerate(b)))

    def evaluations(self, sigmas: Sequence[float]) -> SamplerEvaluations | None:
        """What is evaluated in a run of `sigmas`; None where that is unknown or does not go down from step to step."""
        if self.inputs is None or not self.sigmas:
            return None
        starts = self._starts_of_steps(sigmas)
        if starts is None:
            return None
        ends = [*starts[1:], len(self.sigmas)]
        spans = list(zip(starts, ends, strict=True))
        step_of_evaluation = [step for step, (start, end) in enumerate(spans) for _ in range(start, end)]
        made = np.abs(self._made(np.array(starts)[step_of_evaluation])[1])
        used = [_used(made, start, end) for start, end in spans]
        multistep = any((each[:start] > NEGLIGIBLE).any() for each, start in zip(used, starts, strict=True))
        output_weight = tuple(np.sum(used, axis=0).tolist())
        return SamplerEvaluations(self.sigmas, tuple(step_of_evaluation), output_weight, multistep)

    def input_of(self, evaluation: int, first: np.ndarray, outputs: Sequence[np.ndarray]) -> np.ndarray | None:
        """The input (M,) of an evaluation, noise apart, by the first one's and by the outputs before it, each (M,).

        None where it is not linear in them (docs/math.md, equation 3.2).
        """
        if self.inputs is None or self.cfg_pp or evaluation >= len(self.inputs) or not self.inputs[0, 0]:
            return None
        row = self.inputs[evaluation]
        return row[0] / self.inputs[0, 0] * first + np.einsum("n,nm->m", row[1 : evaluation + 1], np.stack(outputs))

    def _starts_of_steps(self, sigmas: Sequence[float]) -> list[int] | None:
        """The evaluations at which the steps of `sigmas` start, None where they are not known."""
        # Some start their first step a little below its own noise level, where there is only noise.
        found = [0, *self._starts(np.array(sigmas[1:-1]))]
        if found[-1] < 0:
            # Some leave out the last step, where there is next to no noise.
            found.pop()
        in_order = all(a < b for a, b in pairwise(found))
        if in_order and self._fall(found) and self._are_within(found, 1 + GRID_TOLERANCE):
            return found
        # Shifted levels may rise where steps are short.
        by_number = self._starts_by_number(sigmas)
        return by_number if by_number and self._are_within(by_number, SLACK_OF_SHIFTED) else None

    def _starts_by_number(self, sigmas: Sequence[float]) -> list[int]:
        """The starts where each step has as many evaluations, the last as many or one, at levels that are shifted."""
        steps, count = len(sigmas) - 1, len(self.sigmas)
        each = -(-count // steps)
        if count not in (each * steps, each * (steps - 1) + 1):
            return []
        starts = list(range(0, count, each))[:steps]
        shifts = [self.sigmas[start] / sigma for start, sigma in zip(starts, sigmas, strict=False)]
        return starts if all(1 / MOST_SHIFT <= shift <= MOST_SHIFT for shift in shifts) else []

    def _fall(self, starts: Sequence[int]) -> bool:
        """Whether noise levels go down from each of these evaluations to the next."""
        return all(self.sigmas[after] < self.sigmas[start] for start, after in pairwise(starts))

    def _are_within(self, starts: Sequence[int], slack: float) -> bool:
        """Whether a step's levels are between its start's and that of the next, but for a factor `slack`."""
        levels = [*(self.sigmas[start] for start in starts), 0.0]
        spans = pairwise([*starts, len(self.sigmas)])
        return all(after <= sigma * slack and sigma <= level * slack
                   for (start, end), (level, after) in zip(spans, pairwise(levels), strict=True)
                   for sigma in self.sigmas[start:end])  # fmt: skip

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
