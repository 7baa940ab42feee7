"""The sampler as a linear recursion in its denoised outputs, and how an error in one of them travels (docs/math.md, 3).

`x[i + 1] = a[i] x[i] + sum(b[i][j] D[j] for j <= i)` beside noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .noise_levels import NoiseLevel

# Chosen on the demo models (docs/findings.md).
MOST_CHANGES = 1.5


@dataclass(frozen=True)
class LinearRecursion:
    """A sampler that evaluates once a step, at the step's own noise level.

    `x[i + 1] = a[i] x[i] + sum(b[i][j] D[j] for j <= i)`, beside noise, with `D` the denoised outputs: `a` (N,), and
    in row i of `b` i + 1 numbers (docs/math.md, equation 3.1).
    """

    a: tuple[float, ...]
    b: tuple[tuple[float, ...], ...]

    @property
    def repairable(self) -> bool:
        """Whether what the sampler makes of a changed output in later steps can be taken back there by small changes.

        The changes `e` that undo a unit at step k solve `sum(b[i][j] e[j] for j <= i) = 0` for all `i > k`
        (docs/math.md, equation 4.6).
        """
        b = np.array([(*row, *[0.0] * (len(self.b) - len(row))) for row in self.b])
        newest = b.diagonal()
        if not newest.all():
            return False
        changes = np.abs(np.linalg.inv(b / newest[:, None])).sum(axis=0) - 1
        return bool(changes.max(initial=0.0) <= MOST_CHANGES)

    @property
    def memoryless(self) -> bool:
        """Whether each latent is made of the newest output and fresh noise alone, as LCM's is."""
        return not any(self.a)


@dataclass(frozen=True)
class SamplerEvaluations:
    """A run's evaluations in their order: sigma, solver step, and how much of the output the sampler uses in all.

    `multistep` says that it uses outputs again in later steps than their own.
    """

    sigmas: tuple[float, ...]
    step_of_evaluation: tuple[int, ...]
    output_weight: tuple[float, ...]
    multistep: bool


def displacement(
    recursion: LinearRecursion, levels: Sequence[NoiseLevel], forecast: int, step: int
) -> tuple[float, float]:
    """How far a unit of error in the raw output forecast at a step moves the input of a later `step`, and the next.

    `levels` are those of the steps, in the terms of what is forecast. What the network says of a moved input stays
    the same, so the denoised latents between are moved by `c_skip` times that (docs/math.md, equation 3.4).
    """
    moved, before, errors = 0.0, 0.0, {}
    for i in range(forecast, step + 1):
        before = moved
        of_output = levels[i].c_out if i == forecast else 0.0
        # At the computed step nothing is wrong with the denoised latent.
        errors[i] = levels[i].c_skip * moved + of_output if i < step else 0.0
        moved = recursion.a[i] * moved + sum(recursion.b[i][j] * error for j, error in errors.items())
    return before, moved
