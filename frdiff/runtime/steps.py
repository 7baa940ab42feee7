"""Which solver step an evaluation belongs to: as rehearsed, or by its noise level."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..sampler.noise_levels import step_of_sigma
from ..sampler.recursion import SamplerEvaluations
from ..sampler.response import GRID_TOLERANCE, MOST_SHIFT


class StepOrder:
    """Follows the noise levels of a run of `sigmas`, one more than there are steps.

    `known` are its evaluations as they were rehearsed, None where they were not; something between the sampler and the
    model may shift their levels.
    """

    def __init__(self, sigmas: Sequence[float], known: SamplerEvaluations | None) -> None:
        self._sigmas = sigmas
        self._known = known
        self._seen: list[float] = []
        self._steps: list[int] = []

    def is_as_rehearsed(self, sigma: float) -> bool:
        """Whether the next evaluation may be at `sigma`: nothing is rehearsed, or this, or this shifted."""
        if self._known is None:
            return True
        place, rehearsed = len(self._seen), self._known.sigmas
        if place >= len(rehearsed):
            return False
        level = rehearsed[place]
        if abs(level - sigma) <= GRID_TOLERANCE * sigma:
            return True
        before = _direction(rehearsed[place - 1], level) if place else 0
        now = _direction(self._seen[-1], sigma) if place else 0
        return before == now and level / MOST_SHIFT <= sigma <= level * MOST_SHIFT

    @property
    def has_several(self) -> bool:
        """Whether a step had more than one evaluation."""
        return len(set(self._steps)) < len(self._steps)

    @property
    def is_rehearsed(self) -> bool:
        """Whether it is known where the sampler goes next."""
        return self._known is not None

    def positions(self) -> tuple[float, ...]:
        """Where the evaluations of a step are, from its start (0) to the next one's (1), in the logarithm of sigma.

        Known when the third step begins, if the two before it have as many; empty otherwise.
        """
        count = self._steps.count(0)
        if count < 2 or self._steps != [0] * count + [1] * count + [2] or not self._sigmas[2]:
            return ()
        width = math.log(self._sigmas[2] / self._sigmas[1])
        return tuple(math.log(level / self._sigmas[1]) / width for level in self._seen[count:-1])

    def place_in(self, steps: Sequence[int]) -> int:
        """The place of the newest evaluation among those of these steps; behind the end where it has none."""
        if self._known is not None:
            return len(self._seen) - 1
        step = self._steps[-1]
        ordinal = self._steps.count(step) - 1
        return steps.index(step) + ordinal if ordinal < steps.count(step) else len(steps)

    def forget_rehearsal(self) -> None:
        """Go by the noise levels from here on."""
        self._known = None

    def step_of(self, sigma: float) -> tuple[int, bool]:
        """The step of the next evaluation, at `sigma`, and whether that is no level to enter this step at."""
        if self._known is not None:
            step, strange = self._known.step_of_evaluation[len(self._seen)], False
        else:
            step, strange = self._step_by_level(sigma)
        self._seen.append(sigma)
        self._steps.append(step)
        return step, strange

    def _step_by_level(self, sigma: float) -> tuple[int, bool]:
        step = step_of_sigma(sigma, self._sigmas)
        last = self._steps[-1] if self._steps else step
        own = self._sigmas[step] if step < len(self._sigmas) else sigma
        return step, step > last and abs(own - sigma) > GRID_TOLERANCE * own


def _direction(before: float, after: float) -> int:
    """-1 where the noise level falls, 1 where it rises, 0 where it stays."""
    return 0 if abs(after - before) <= GRID_TOLERANCE * before else (1 if after > before else -1)
