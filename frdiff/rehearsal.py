"""What a sampler does with the outputs that it is given, known from a rehearsal before the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Of the first input's unit: weights below are what rounding in single precision leaves.
NEGLIGIBLE = 1e-5
SIGMA_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Solver:
    """A sampler that evaluates once a step, at the step's own noise level, as the linear recursion that it is.

    `x[i + 1] = keeps[i] * x[i] + sum(uses[i][j] * D[j] for j <= i)`, beside noise, with `D` the denoised outputs.
    """

    keeps: tuple[float, ...]
    uses: tuple[tuple[float, ...], ...]

    @property
    def correctable(self) -> bool:
        """Whether a change of one output can be taken back in the next without growing from step to step."""
        return all(sum(map(abs, uses[:-1])) < abs(uses[-1]) for uses in self.uses)

    @property
    def forgets(self) -> bool:
        """Whether each latent is made of the newest output and fresh noise alone, as LCM's is."""
        return not any(self.keeps)

    @property
    def totals(self) -> tuple[float, ...]:
        """How much of each output is used in all, whatever the signs."""
        used = np.zeros(len(self.keeps))
        for uses in self.uses:
            used[: len(uses)] += np.abs(uses)
        return tuple(used.tolist())

    def emphasis(self, sigmas: Sequence[float]) -> tuple[float, ...]:
        """The totals relative to what Euler's method uses."""
        euler = [1 - after / sigma for sigma, after in zip(sigmas, sigmas[1:], strict=False)]
        return tuple(used / each if each > 0 else 1.0 for used, each in zip(self.totals, euler, strict=True))


@dataclass(frozen=True)
class Rehearsal:
    """A sampler's run with outputs of our own: the noise level of each evaluation and whether noise was added.

    `inputs` has a row for each evaluation's input and one for the result; what each is made of stands in its
    columns: of the first input, then of each output in turn. It is None where that is not linear. `takes_parts` says
    that the sampler takes the outputs of single conditions, as CFG++ does.
    """

    sigmas: tuple[float, ...]
    adds_noise: bool
    inputs: np.ndarray | None = None
    takes_parts: bool = False

    def solver(self, sigmas: Sequence[float]) -> Solver | None:
        """The sampler as a recursion, None where it is not a linear one with an evaluation at each of `sigmas`."""
        steps = len(sigmas) - 1
        if self.inputs is None or len(self.sigmas) != steps:
            return None
        if not np.allclose(self.sigmas, sigmas[:-1], rtol=SIGMA_TOLERANCE):
            return None
        first = self.inputs[:, 0]
        keeps = [float(after / at) if abs(at) > NEGLIGIBLE * abs(first[0]) else 0.0
                 for at, after in zip(first, first[1:], strict=False)]  # fmt: skip
        uses = [
            self.inputs[step + 1, 1 : step + 2] - keep * self.inputs[step, 1 : step + 2]
            for step, keep in enumerate(keeps)
        ]
        return Solver(tuple(keeps), tuple(tuple(np.where(np.abs(row) > NEGLIGIBLE, row, 0.0).tolist()) for row in uses))
