"""Which solver step an evaluation belongs to: as rehearsed, by its noise level, or by order where levels are shifted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..sampler.noise_levels import step_of_sigma
from ..sampler.response import GRID_TOLERANCE, MOST_SHIFT

# A shift that only the run shows: how far, and by how much of a step more than at the step before.
LARGEST_SHIFT, LARGEST_CHANGE = math.log(1.6), 0.6


class StepOrder:
    """Follows the noise levels of a run of `sigmas`, one more than there are steps.

    `rehearsed` are the levels of the evaluations as far as they are known before the run, with the steps that they
    belong to. `shifts` says that other levels than the run's own may be taken for shifted ones, as of a sampler that
    asks once for each step while something between it and the model changes the noise level.
    """

    def __init__(self, sigmas: Sequence[float], rehearsed: Sequence[float], steps: Sequence[int], shifts: bool) -> None:
        self.shifted = False
        self._sigmas = sigmas
        self._rehearsed, self._rehearsed_steps = rehearsed, steps
        self._shifts = shifts
        self._seen: list[float] = []
        self._steps: list[int] = []

    def is_as_rehearsed(self, sigma: float) -> bool:
        """Whether the next evaluation may be at `sigma`: nothing is rehearsed, or this, or this shifted."""
        if not self._rehearsed:
            return True
        place = len(self._seen)
        if place >= len(self._rehearsed):
            return False
        level = self._rehearsed[place]
        if abs(level - sigma) <= GRID_TOLERANCE * sigma:
            return True
        self.shifted = True
        before = _direction(self._rehearsed[place - 1], level) if place else 0
        now = _direction(self._seen[-1], sigma) if place else 0
        return before == now and level / MOST_SHIFT <= sigma <= level * MOST_SHIFT

    @property
    def has_several(self) -> bool:
        """Whether a step had more than one evaluation."""
        return len(set(self._steps)) < len(self._steps)

    def forget_rehearsal(self) -> None:
        """Go by the noise levels from here on."""
        self._rehearsed, self._shifts = (), self._shifts or bool(self._rehearsed)

    def step_of(self, sigma: float) -> tuple[int, bool]:
        """The step of the next evaluation, at `sigma`, and whether that is no level to enter this step at."""
        place = len(self._seen)
        if self._rehearsed:
            step, strange = self._rehearsed_steps[place], False
        else:
            step, strange = self._step_by_level(sigma)
            if self._shifts and not self._is_own(sigma) and self._is_in_order([*self._seen, sigma]):
                step, strange = place, False
        self._seen.append(sigma)
        self._steps.append(step)
        return step, strange

    def _step_by_level(self, sigma: float) -> tuple[int, bool]:
        step = step_of_sigma(sigma, self._sigmas)
        last = self._steps[-1] if self._steps else step
        own = self._sigmas[step] if step < len(self._sigmas) else sigma
        return step, step > last and abs(own - sigma) > GRID_TOLERANCE * own

    def _is_own(self, sigma: float) -> bool:
        return any(abs(own - sigma) <= GRID_TOLERANCE * own for own in self._sigmas)

    def _is_in_order(self, seen: Sequence[float]) -> bool:
        """Whether evaluations at these levels are one for each step, at levels that a smooth shift leads to."""
        place = len(seen) - 1
        if not 0 < place < len(self._sigmas) - 1 or self._steps != list(range(place)):
            return False
        if place == 1 and self._is_own(seen[0]):
            # As well the second evaluation of the first step.
            return self._step_by_level(seen[1])[0] == 1
        shifts = [math.log(level / own) for level, own in zip(seen, self._sigmas, strict=False)]
        width = math.log(self._sigmas[place - 1] / self._sigmas[place])
        change = abs(shifts[-1] - shifts[-2])
        return abs(shifts[-1]) <= LARGEST_SHIFT and change <= LARGEST_CHANGE * width and seen[-1] < seen[-2]


def _direction(before: float, after: float) -> int:
    """-1 where the noise level falls, 1 where it rises, 0 where it stays."""
    return 0 if abs(after - before) <= GRID_TOLERANCE * before else (1 if after > before else -1)
