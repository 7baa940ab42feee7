"""What the run shows of its forecasts: how much of what they add to repetition is worth having (docs/math.md, 7)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..tensors import combine, is_plain
from ..typed import norm, solved

# Chosen on all three demo models: how fast old measurements fade, and how much the forecast is trusted beforehand,
# of raw outputs and of denoised latents.
DECAY = 0.6
TRUST_RAW, TRUST_X0 = 1.0, 0.3
# Of the conditions' sizes: keeps the equations solvable where two conditions answer the same.
RIDGE = 1e-6
TINY = 1e-30
# Elements of a picture that are looked at: enough for inner products, few enough to cost next to nothing.
SAMPLES = 1024


@dataclass(frozen=True)
class Trial:
    """At a computed call: the forecast that was not needed, and the truth, both less the repetition (C B, N).

    `shape` is that of the call's output, (C B, ...).
    """

    forecast: torch.Tensor
    truth: torch.Tensor
    shape: torch.Size


class Gain:
    """The share `a` of `forecast - repeat` that is best by what the run has shown, for each picture.

    Guidance enlarges what forecasts miss, so the errors are those of the guided output. `x0` says that denoised
    latents are forecast. Nothing here makes the device wait.
    """

    def __init__(self, x0: bool) -> None:
        self._trust = TRUST_X0 if x0 else TRUST_RAW
        self._trials: dict[Hashable, Trial] = {}
        self._answers: dict[Hashable, torch.Tensor] = {}
        # (2, B): the sums of equation 7.2.
        self._sums: torch.Tensor | None = None
        self._share: torch.Tensor | None = None

    def begin(self) -> None:
        """Start an evaluation."""
        self._trials.clear()
        self._answers.clear()

    def tried(self, key: Hashable, weights: Sequence[float], outputs: Sequence[Any], truth: Any) -> None:
        """Note what a computed call would have been answered from older `outputs`, and what it was; (C B, ...) all."""
        if all(is_plain(value) and value.shape == truth.shape for value in (*outputs, truth)):
            known = [_sampled(output) for output in outputs]
            self._trials[key] = Trial(combine(weights, known) - known[-1], _sampled(truth) - known[-1], truth.shape)

    def answered(self, key: Hashable, denoised: Any) -> None:
        """Note what a call gave the guider: the denoised latents (C B, ...) of its conditions, one after the other."""
        if is_plain(denoised):
            self._answers[key] = denoised

    def ended(self, denoised: Any) -> None:
        """Measure, with the weights that guidance gave the conditions in the sampler's `denoised` (B, ...)."""
        keys = [key for key, trial in self._trials.items() if _fits(trial.shape, self._answers.get(key), denoised)]
        if not keys:
            return
        batch = len(denoised)
        answers = _by_condition((_sampled(self._answers[key]) for key in keys), batch)
        weights = guidance_weights(answers, _sampled(denoised))
        forecast = _guided(weights, _by_condition((self._trials[key].forecast for key in keys), batch))
        truth = _guided(weights, _by_condition((self._trials[key].truth for key in keys), batch))
        self._measure(forecast, truth)

    def applied(self, forecast: Any, repeat: Any) -> Any:
        """The forecast (C B, ...), led back to the repetition as far as was better."""
        share = self._share
        if share is None or not isinstance(forecast, torch.Tensor) or len(forecast) % len(share):
            return forecast
        rows = share.to(forecast).repeat(len(forecast) // len(share)).view(-1, *[1] * (forecast.ndim - 1))
        return repeat + rows * (forecast - repeat)

    def _measure(self, forecast: torch.Tensor, truth: torch.Tensor) -> None:
        """The share by guided forecast and truth (B, N), both less the repetition (docs/math.md, equation 7.2)."""
        size = truth.square().sum(dim=1).clamp(min=TINY)
        new = torch.stack([(forecast * truth).sum(dim=1), forecast.square().sum(dim=1)]) / size
        known = self._sums is not None and self._sums.shape == new.shape
        self._sums = DECAY * self._sums + new if known and self._sums is not None else new
        num, den = self._sums
        self._share = ((num + self._trust * den) / ((1 + self._trust) * den).clamp(min=TINY)).clamp(0.0, 1.0)


def guidance_weights(answers: torch.Tensor, denoised: torch.Tensor) -> torch.Tensor:
    """Weights (B, C) that make `denoised` (B, N) of the conditions' `answers` (C, B, N) (docs/math.md, equation 7.1).

    By least squares, so that any linear guidance is served.
    """
    # From the first answer and the others' differences to it: conditions are nearly parallel.
    columns = torch.permute(torch.cat([answers[:1], answers[1:] - answers[:1]]), (1, 2, 0))
    sizes = norm(columns, dim=1)[:, None].clamp(min=TINY)
    columns = columns / sizes
    target = denoised[..., None].to(columns)
    gram = columns.transpose(1, 2) @ columns + RIDGE * torch.eye(len(answers)).to(columns)
    found = solved(gram, columns.transpose(1, 2) @ target).squeeze(-1) / sizes[:, 0]
    return torch.cat([found[:, :1] - found[:, 1:].sum(dim=1, keepdim=True), found[:, 1:]], dim=1)


def _sampled(value: torch.Tensor) -> torch.Tensor:
    """Some elements (B, N) of each picture in (B, ...), evenly; an odd stride leaves no column out."""
    elements = value.reshape(len(value), -1)
    return elements[:, :: max(elements.shape[1] // SAMPLES, 1) | 1]


def _fits(shape: torch.Size, answer: torch.Tensor | None, denoised: Any) -> bool:
    """Whether a call (C B, ...) holds whole conditions of `denoised` (B, ...), not windows or areas of them."""
    if answer is None or not is_plain(denoised) or denoised.ndim < 2 or not len(denoised):
        return False
    return shape == answer.shape and answer.shape[1:] == denoised.shape[1:] and len(answer) % len(denoised) == 0


def _by_condition(parts: Iterable[torch.Tensor], batch: int) -> torch.Tensor:
    """Calls' tensors (C B, N) as (all C, B, N), in single precision."""
    return torch.cat([part.reshape(-1, batch, part.shape[-1]).float() for part in parts])


def _guided(weights: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
    """The sum (B, N) of conditions' parts (C, B, N)."""
    return torch.einsum("bc,cbn->bn", weights, parts)
