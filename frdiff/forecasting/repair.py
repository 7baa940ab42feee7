"""Set right, at the first computed step after skipped ones, most of what their forecasts did to the latent."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..sampler.response import Solver
from ..store import Stream
from .rules import Weights, combine

# A correction that would be larger is not made: the computed step is too short to carry it.
LARGEST_SHARE = 4.0
NEGLIGIBLE = 1e-4
MEMORY = 5


@dataclass(frozen=True)
class Forecast:
    """What answered for a skipped step."""

    step: int
    time: float
    output: Any


@dataclass
class _Stream:
    """The forecasts since the last computed step, and by step what was added to answers."""

    made: list[Forecast] = field(default_factory=list)
    added: dict[int, Any] = field(default_factory=dict)


class Repair:
    """Follows, by stream, what forecasts do to the latent, and makes `strength` of it good.

    When a step is computed, the outputs of the skipped steps before it can be interpolated instead of extrapolated.
    From the differences the solver's recursion tells how far off the latent is, and the computed step's own answer
    carries the correction. The denoised latent `D = c x + a output` is taken to be the same at the displaced input,
    so that the displacement shows in the output; it is taken out of what is remembered of it. `scales` are `(c, a)` of
    each step (Space).
    """

    def __init__(self, strength: float, solver: Solver, scales: Sequence[tuple[float, float]]) -> None:
        self._strength = strength
        self._solver = solver
        self._scales = scales
        self._streams: dict[Hashable, _Stream] = {}

    def forecast(self, key: Hashable, step: int, time: float, output: Any) -> Any:
        """What to add to the forecast `output` of a skipped step, None for nothing."""
        stream = self._streams.setdefault(key, _Stream())
        stream.made.append(Forecast(step, time, output))
        return self._addition(stream, step, None)

    def computed(self, key: Hashable, step: int, known: Stream, weights_at: Weights) -> Any:
        """What to add to the output of a computed step, the newest one in `known`; None for nothing."""
        stream = self._streams.setdefault(key, _Stream())
        made, stream.made = stream.made, []
        return self._addition(stream, step, self._correction(made, step, known, weights_at) if made else None)

    def drop(self, keys: Iterable[Hashable]) -> None:
        """Forget these streams."""
        for key in keys:
            self._streams.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._streams.clear()

    def _correction(self, made: Sequence[Forecast], step: int, known: Stream, weights_at: Weights) -> Any:
        """What to add to a computed output; in `known` it is replaced by what it would be at the right input."""
        (c, a), use = self._scales[step], self._solver.uses[step][step]
        effects = [_effect(self._solver, self._scales, each.step, step) for each in made]
        if self._strength * max(abs(after) for _, after in effects) > LARGEST_SHARE * abs(use * a):
            return None
        weights = [weights_at(each.time, list(known.times)) for each in made]
        errors = [
            combine((1.0, *(-w for w in each_weights)), (each.output, *known.outputs))
            for each, each_weights in zip(made, weights, strict=True)
        ]
        # The displacement is found with the help of the newest output, which shows it too.
        echo = -c / a
        back, back_after = (echo * sum(e[i] * w[-1] for e, w in zip(effects, weights, strict=True)) for i in (0, 1))
        before = [e / (1 - back) for e, _ in effects]
        after = [e + back_after * b for (_, e), b in zip(effects, before, strict=True)]
        known.outputs[-1] = combine((1.0, *(-echo * b for b in before)), (known.outputs[-1], *errors))
        return combine([-self._strength * e / (use * a) for e in after], errors)

    def _addition(self, stream: _Stream, step: int, correction: Any) -> Any:
        """A correction, less what the solver still makes of earlier ones."""
        uses = self._solver.uses[step]
        use = uses[step] * self._scales[step][1]
        late = {
            earlier: -uses[earlier] * self._scales[earlier][1] / use
            for earlier in stream.added
            if use and abs(uses[earlier]) > NEGLIGIBLE
        }
        parts = [] if correction is None else [correction]
        weights = [1.0] * len(parts) + list(late.values())
        parts += [stream.added[earlier] for earlier in late]
        # Solvers remember few outputs.
        stream.added = {earlier: added for earlier, added in stream.added.items() if step - earlier < MEMORY}
        if not parts:
            return None
        stream.added[step] = combine(weights, parts)
        return stream.added[step]


def repair_of(strength: float, solver: Solver | None, scales: Sequence[tuple[float, float]]) -> Repair | None:
    """The repair of a run, None where there is none to make or the solver would carry it too far."""
    return Repair(strength, solver, scales) if strength and solver is not None and solver.correctable else None


def _effect(
    solver: Solver, scales: Sequence[tuple[float, float]], forecast: int, step: int
) -> tuple[float, float]:
    """How far a unit of error in a forecast's raw output moves the input of a later `step`, and the input after it."""
    moved, errors = 0.0, {}
    for i in range(forecast, step + 1):
        before = moved
        c, a = scales[i]
        # What is wrong with the denoised latent: at the computed step nothing is.
        errors[i] = (c * moved + (a if i == forecast else 0.0)) if i < step else 0.0
        moved = solver.keeps[i] * moved + sum(solver.uses[i][j] * error for j, error in errors.items())
    return before, moved
