"""Set right, at the first computed step after skipped ones, part of what their forecasts moved too far."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .features import Stream
from .forecast import Forecaster, combine

# A correction that would be larger is not made: the computed step is too short to carry it.
LARGEST_SHARE = 4.0
# Of the latent's size: samplers work in single precision, and multistep solvers differ by more.
TOLERANCE = 2e-5
SAMPLES = 128


@dataclass(frozen=True)
class Forecast:
    """What answered for a skipped step."""

    step: int
    time: float
    output: Any


class Repair:
    """Remembers the forecasts since the last computed step, by stream.

    When a step is computed, the outputs of the skipped steps before it can be interpolated instead of
    extrapolated. The difference, times how far each step moved the latent (`moves`, per unit of output),
    is what the latent is off by; `strength` of it is made good in the computed step's own output.
    """

    def __init__(self, strength: float, moves: Sequence[float]) -> None:
        self._strength = strength
        self._moves = moves
        self._made: dict[Hashable, list[Forecast]] = {}

    def forecast(self, key: Hashable, step: int, time: float, output: Any) -> None:
        """Note a forecast that answered for a step."""
        if self._strength:
            self._made.setdefault(key, []).append(Forecast(step, time, output))

    def repaired(self, key: Hashable, step: int, stream: Stream, rule: Forecaster, output: Any) -> Any:
        """The computed `output` of a step, which is the newest in `stream`, with the correction as a new tensor."""
        made = self._made.pop(key, [])
        shares = [self._strength * self._moves[each.step] / self._moves[step] for each in made] if made else []
        if not shares or max(map(abs, shares)) > LARGEST_SHARE:
            return output
        for share, each in zip(shares, made, strict=True):
            weights = [share * weight for weight in rule.weights(each.time, list(stream.times))]
            output = combine((1.0, -share, *weights), (output, each.output, *stream.outputs))
        return output

    def clear(self) -> None:
        """Forget everything."""
        self._made.clear()


class FirstOrder:
    """Tells from the run whether each step is `x' = x + (1 - sigma' / sigma) (denoised - x)`, as Euler's is.

    A solver that also uses earlier outputs would take a correction up twice. It shows within the first steps, whose
    errors weigh least, so the run is trusted until then.
    """

    def __init__(self) -> None:
        self.holds = True
        self._input: tuple[float, torch.Tensor] | None = None
        self._slope: torch.Tensor | None = None

    def arrived(self, sigma: float, x: torch.Tensor) -> None:
        """Note the input of an evaluation, and compare it with what Euler's step would have made."""
        now = _sampled(x)
        if self._input is not None and self._slope is not None and self._input[1].shape == now.shape:
            before, start = self._input
            if float((start + (sigma - before) * self._slope - now).norm()) > TOLERANCE * float(now.norm()):
                self.holds = False
        self._input = (sigma, now)

    def answered(self, denoised: torch.Tensor) -> None:
        """Note what the evaluation returned to the sampler."""
        if self._input is not None:
            sigma, x = self._input
            answer = _sampled(denoised)
            self._slope = (x - answer) / sigma if sigma > 0 and answer.shape == x.shape else None


def _sampled(x: torch.Tensor) -> torch.Tensor:
    flat = x.detach().reshape(-1)
    return flat[:: max(len(flat) // SAMPLES, 1)][:SAMPLES].double().cpu()
