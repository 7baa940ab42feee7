"""What a sampler does with the outputs that it is given, known from a rehearsal before the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# Of the first input's unit: weights below are what rounding in single precision leaves.
NEGLIGIBLE = 1e-5
SIGMA_TOLERANCE = 1e-3
# Chosen on the demo models (docs/findings.md).
MOST_CHANGES = 1.5


@dataclass(frozen=True)
class Solver:
    """A sampler that evaluates once a step, at the step's own noise level, as the linear recursion that it is.

    `x[i + 1] = keeps[i] * x[i] + sum(uses[i][j] * D[j] for j <= i)`, beside noise, with `D` the denoised outputs.
    """

    keeps: tuple[float, ...]
    uses: tuple[tuple[float, ...], ...]

    @property
    def correctable(self) -> bool:
        """Whether what the solver makes of a changed output in later steps can be taken back there by small changes.

        The changes `e` that undo a unit at step k solve `sum(uses[i][j] * e[j] for j <= i) = 0` for all `i > k`.
        """
        uses = np.array([(*row, *[0.0] * (len(self.uses) - len(row))) for row in self.uses])
        newest = uses.diagonal()
        if not newest.all():
            return False
        changes = np.abs(np.linalg.inv(uses / newest[:, None])).sum(axis=0) - 1
        return bool(changes.max(initial=0.0) <= MOST_CHANGES)

    @property
    def forgets(self) -> bool:
        """Whether each latent is made of the newest output and fresh noise alone, as LCM's is."""
        return not any(self.keeps)


@dataclass(frozen=True)
class Evaluations:
    """A run's evaluations in their order: noise level, step, and how much of the output the sampler uses in all.

    `remembers` says that it uses outputs again in later steps than their own.
    """

    sigmas: tuple[float, ...]
    steps: tuple[int, ...]
    uses: tuple[float, ...]
    remembers: bool


@dataclass(frozen=True)
class Rehearsal:
    """A sampler's run with outputs of our own: the noise level of each evaluation and whether noise was added.

    `inputs` has a row for each evaluation's input and one for the result; what each is made of stands in its
    columns: of the first input, then of each output in turn. It is None where that is not linear. `takes_parts` says
    that the sampler takes the outputs of single conditions, as CFG++ does; here they are all the same.
    """

    sigmas: tuple[float, ...]
    adds_noise: bool
    inputs: np.ndarray | None = None
    takes_parts: bool = False

    def solver(self, sigmas: Sequence[float]) -> Solver | None:
        """The sampler as a recursion, None where it is not a linear one with an evaluation at each of `sigmas`."""
        steps = len(sigmas) - 1
        if self.inputs is None or self.takes_parts or len(self.sigmas) != steps:
            return None
        if not np.allclose(self.sigmas, sigmas[:-1], rtol=SIGMA_TOLERANCE):
            return None
        keeps, made = self._made(np.arange(steps))
        uses = np.where(np.abs(made) > NEGLIGIBLE, made, 0.0).tolist()
        return Solver(tuple(keeps.tolist()), tuple(tuple(row[: step + 1]) for step, row in enumerate(uses)))

    def evaluations(self, sigmas: Sequence[float]) -> Evaluations | None:
        """What is evaluated in a run of `sigmas`; None where that is unknown or does not go down from step to step."""
        if self.inputs is None or not self.sigmas:
            return None
        # Some start their first step a little below its own noise level, where there is only noise.
        starts = [0, *self._starts(np.array(sigmas[1:-1]))]
        falls = all(b <= a * (1 + SIGMA_TOLERANCE) for a, b in pairwise(self.sigmas))
        if not falls or any(b <= a for a, b in pairwise(starts)):
            return None
        ends = [*starts[1:], len(self.sigmas)]
        owners = [step for step, (start, end) in enumerate(zip(starts, ends, strict=True)) for _ in range(start, end)]
        made = np.abs(self._made(np.array(starts)[owners])[1])
        used = [_used(made, start, end) for start, end in zip(starts, ends, strict=True)]
        again = any((each[:start] > NEGLIGIBLE).any() for each, start in zip(used, starts, strict=True))
        return Evaluations(self.sigmas, tuple(owners), tuple(np.sum(used, axis=0).tolist()), again)

    def _starts(self, sigmas: np.ndarray) -> list[int]:
        """The evaluations at which the steps from `sigmas` start, -1 where there is none.

        The last one there: Heun's method and its kin end a step at the noise level of the next. The middle of a very
        short step may be near as well.
        """
        apart = np.abs(np.array(self.sigmas) - sigmas[:, None])
        there = apart <= np.minimum(apart.min(axis=1), SIGMA_TOLERANCE * sigmas)[:, None]
        last = len(self.sigmas) - 1 - there[:, ::-1].argmax(axis=1)
        return np.where(there.any(axis=1), last, -1).tolist()

    def _made(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For what follows each evaluation: how much it keeps of the input `starts[i]`, and what outputs add to that.

        `starts` are the evaluations at which the steps started. What is kept shows in what went into both long ago,
        which no step adds again: the first input, or where the sampler has forgotten that, as some do at once on
        flow models, the oldest output.
        """
        assert self.inputs is not None
        there, after = self.inputs[starts], self.inputs[1:]
        sizes = np.abs(there)
        oldest = (sizes > NEGLIGIBLE * sizes.max(axis=1, keepdims=True)).argmax(axis=1)
        places = np.arange(len(starts)), oldest
        keeps = after[places] / there[places]
        return keeps, (after - keeps[:, None] * there)[:, 1:]


def _used(made: np.ndarray, start: int, end: int) -> np.ndarray:
    """How much a step uses of each output: for the latent that it ends with, and for its own evaluations."""
    used = made[end - 1]
    return used + sum(used[i] * made[i - 1] for i in range(start + 1, end))
