"""Set right, at the first computed step after skipped ones, most of what their forecasts did to the latent.

The derivation is in docs/math.md, section 4.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..sampler.noise_levels import NoiseLevel
from ..sampler.recursion import LinearRecursion, displacement
from ..store import Stream
from ..tensors import combine
from .rules import Weights

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
class _Corrections:
    """The forecasts of a stream since its last computed step, and by step what was added to answers."""

    forecasts: list[Forecast] = field(default_factory=list)
    added: dict[int, Any] = field(default_factory=dict)


class Repair:
    """Follows, by stream, what forecasts do to the latent, and makes `strength` of it good.

    When a step is computed, the outputs of the skipped steps before it can be interpolated instead of extrapolated.
    From the differences the recursion tells how far off the latent is, and the computed step's own answer carries the
    correction. The denoised latent is taken to be the same at the displaced input, so that the displacement shows in
    the output; it is taken out of what is remembered of it. `levels` are those of the steps, in the terms of what is
    remembered. Outputs, forecasts and additions have the network output's shape.
    """

    def __init__(self, strength: float, recursion: LinearRecursion, levels: Sequence[NoiseLevel]) -> None:
        self._strength = strength
        self._recursion = recursion
        self._levels = levels
        self._streams: dict[Hashable, _Corrections] = {}

    def of_forecast(self, key: Hashable, step: int, time: float, output: Any) -> Any:
        """What to add to the forecast `output` of a skipped step, None for nothing."""
        stream = self._streams.setdefault(key, _Corrections())
        stream.forecasts.append(Forecast(step, time, output))
        return self._addition(stream, step, None)

    def of_computed(self, key: Hashable, step: int, known: Stream, weights_at: Weights) -> Any:
        """What to add to the output of a computed step, the newest one in `known`; None for nothing."""
        stream = self._streams.setdefault(key, _Corrections())
        made, stream.forecasts = stream.forecasts, []
        return self._addition(stream, step, self._correction(made, step, known, weights_at) if made else None)

    def drop(self, keys: Iterable[Hashable]) -> None:
        """Forget these streams."""
        for key in keys:
            self._streams.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._streams.clear()

    def _correction(self, made: Sequence[Forecast], step: int, known: Stream, weights_at: Weights) -> Any:
        """What to add to a computed output; in `known` it is replaced by what it would be at the right input.

        All have the output's shape (docs/math.md, equations 4.1 to 4.4).
        """
        level, b = self._levels[step], self._recursion.b[step][step]
        effects = [displacement(self._recursion, self._levels, each.step, step) for each in made]
        if self._strength * max(abs(after) for _, after in effects) > LARGEST_SHARE * abs(b * level.c_out):
            return None
        weights = [weights_at(each.time, list(known.times)) for each in made]
        errors = [
            combine((1.0, *(-w for w in each_weights)), (each.output, *known.outputs))
            for each, each_weights in zip(made, weights, strict=True)
        ]
        # The displacement is found with the help of the newest output, which shows it too.
        echo = -level.c_skip / level.c_out
        back, back_after = (echo * sum(e[i] * w[-1] for e, w in zip(effects, weights, strict=True)) for i in (0, 1))
        before = [e / (1 - back) for e, _ in effects]
        after = [e + back_after * d for (_, e), d in zip(effects, before, strict=True)]
        known.outputs[-1] = combine((1.0, *(-echo * d for d in before)), (known.outputs[-1], *errors))
        return combine([-self._strength * e / (b * level.c_out) for e in after], errors)

    def _addition(self, stream: _Corrections, step: int, correction: Any) -> Any:
        """A correction, less what the sampler still makes of earlier ones (docs/math.md, equation 4.5)."""
        b = self._recursion.b[step]
        newest = b[step] * self._levels[step].c_out
        late = {
            earlier: -b[earlier] * self._levels[earlier].c_out / newest
            for earlier in stream.added
            if newest and abs(b[earlier]) > NEGLIGIBLE
        }
        parts = [] if correction is None else [correction]
        weights = [1.0] * len(parts) + list(late.values())
        parts += [stream.added[earlier] for earlier in late]
        # Samplers remember few outputs.
        stream.added = {earlier: added for earlier, added in stream.added.items() if step - earlier < MEMORY}
        if not parts:
            return None
        stream.added[step] = combine(weights, parts)
        return stream.added[step]


def repair_of(strength: float, recursion: LinearRecursion | None, levels: Sequence[NoiseLevel]) -> Repair | None:
    """The repair of a run, None where there is none to make or the sampler would carry it too far."""
    return Repair(strength, recursion, levels) if strength and recursion is not None and recursion.repairable else None
