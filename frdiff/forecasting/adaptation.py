"""What the run shows of its forecasts: how much of what they add to repetition is worth having (docs/math.md, 7)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..tensors import combine, is_plain
from ..typed import norm, solved

# Chosen on all three demo models: how fast old measurements fade, and how much the forecast is trusted beforehand,
# of raw outputs (samplers that use them again enlarge what it misses) and of denoised latents, and how much it is
# trusted that the input itself says nothing.
DECAY = 0.6
TRUST_RAW, TRUST_MULTISTEP, TRUST_X0, TRUST_INPUT = 1.0, 0.3, 0.3, 0.3
# Of sizes: keeps the equations solvable where two conditions answer the same, or what is measured is nothing.
RIDGE = 1e-6
TINY = 1e-30
# Elements of a picture that are looked at: enough for inner products, few enough to cost next to nothing.
SAMPLES = 1024


@dataclass(frozen=True)
class Trial:
    """At a computed call: what could have stood for it, and the truth, both less the repetition.

    `directions` (K, C B, N) are those of the forecast and, of denoised latents, of the input; `truth` (C B, N).
    `change` (C B, N) is what the network says of its input: its raw output, or the denoised latent less the input.
    `shape` is that of the call's output, (C B, ...).
    """

    directions: torch.Tensor
    truth: torch.Tensor
    change: torch.Tensor
    shape: torch.Size


class Gain:
    """The shares of `forecast - repeat` and `input - repeat` that are best by what the run has shown of each picture.

    Guidance enlarges what forecasts miss, so the errors are those of the guided output. `x0` says that denoised
    latents are forecast: only there the input brings noise that no older output knows. `multistep` says that a sampler
    uses outputs again in later steps, `cfg_pp` that it takes those of single conditions: then the input's share in the
    guided output is not what it needs. Nothing here makes the device wait.
    """

    def __init__(self, x0: bool, multistep: bool = False, cfg_pp: bool = False) -> None:
        self._x0, self._follows_input = x0, x0 and not cfg_pp
        forecast = TRUST_X0 if x0 else TRUST_MULTISTEP if multistep else TRUST_RAW
        self._trust = (forecast, TRUST_INPUT) if self._follows_input else (forecast,)
        self._trials: dict[Hashable, Trial] = {}
        self._answers: dict[Hashable, torch.Tensor] = {}
        # (B, K, K + 1): the sums of equation 7.2, those of the right side last.
        self._sums: torch.Tensor | None = None
        # (B, K)
        self._shares: torch.Tensor | None = None
        # (B): how far off the answer to the evaluation would have been (equation 7.4), None where it was not seen.
        self.errors: torch.Tensor | None = None

    def begin(self) -> None:
        """Start an evaluation."""
        self._trials.clear()
        self._answers.clear()
        self.errors = None

    def tried(self, key: Hashable, weights: Sequence[float], outputs: Sequence[Any], truth: Any, x: Any) -> None:
        """Note what could have answered a computed call with input `x`, and what it was; (C B, ...) all.

        `weights` make a forecast of the older `outputs`.
        """
        if all(is_plain(value) and value.shape == truth.shape for value in (*outputs, truth, x)):
            known, true, given = [_sampled(output) for output in outputs], _sampled(truth), _sampled(x).to(truth)
            repeat = known[-1]
            directions = [combine(weights, known) - repeat, *([given - repeat] if self._follows_input else [])]
            change = true - given if self._x0 else true
            self._trials[key] = Trial(torch.stack(directions), true - repeat, change, truth.shape)

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
        trials = [self._trials[key] for key in keys]

        def guided(parts: Iterable[torch.Tensor]) -> torch.Tensor:
            return torch.einsum("bc,cbn->bn", weights, _by_condition(parts, batch))

        truth = guided(trial.truth for trial in trials)
        ways = [guided(trial.directions[k] for trial in trials) for k in range(len(self._trust))]
        directions = torch.stack(ways, dim=1)
        self.errors = self._errors(directions, truth, guided(trial.change for trial in trials))
        self._measure(directions, truth)

    def applied(self, forecast: Any, repeat: Any, x: Any) -> Any:
        """What answers for a call with input `x`: the repetition, and the measured shares of the others; (C B, ...)."""
        shares = self._shares
        if shares is None or not isinstance(forecast, torch.Tensor) or len(forecast) % len(shares):
            return forecast
        rows = shares.to(forecast).repeat(len(forecast) // len(shares), 1)
        each = [row.view(-1, *[1] * (forecast.ndim - 1)) for row in rows.unbind(dim=1)]
        answer = repeat + each[0] * (forecast - repeat)
        return answer + each[1] * (x.to(forecast) - repeat) if self._follows_input else answer

    def _errors(self, directions: torch.Tensor, truth: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """The relative errors (B,) of the answer by directions (B, K, N), against `change` (B, N).

        See docs/math.md, equation 7.4.
        """
        shares = self._shares
        if shares is None or shares.shape != directions.shape[:2]:
            # Nothing was measured yet: the forecast alone.
            shares = torch.zeros_like(directions[..., 0])
            shares[:, 0] = 1.0
        missed = truth - torch.einsum("bk,bkn->bn", shares, directions)
        return norm(missed, dim=1) / norm(change, dim=1).clamp(min=TINY)

    def _measure(self, directions: torch.Tensor, truth: torch.Tensor) -> None:
        """The shares by guided directions (B, K, N) and truth (B, N) (docs/math.md, equations 7.2 and 7.3)."""
        # Where the truth was repetition to the last bit the sums stay finite.
        sizes = directions.square().sum(dim=2).amax(dim=1)
        size = torch.maximum(truth.square().sum(dim=1), RIDGE * sizes).clamp(min=TINY)
        new = directions @ torch.cat([directions, truth[:, None]], dim=1).transpose(1, 2) / size[:, None, None]
        known = self._sums is not None and self._sums.shape == new.shape
        self._sums = DECAY * self._sums + new if known and self._sums is not None else new
        self._shares = best_shares(self._sums, self._trust)


def best_shares(sums: torch.Tensor, trust: Sequence[float]) -> torch.Tensor:
    """The shares (B, K) by decaying sums (B, K, K + 1) of inner products (docs/math.md, equations 7.2 and 7.3).

    The first is that of the forecast, trusted beforehand to be 1; the others are trusted to be 0. All are in 0..1.
    """
    gram, right = sums[..., :-1], sums[..., -1]
    sizes = gram.diagonal(dim1=1, dim2=2)
    beforehand = sizes * torch.tensor(trust).to(sizes) + TINY
    damped = gram + torch.diag_embed(beforehand)
    target = right.clone()
    target[:, 0] += beforehand[:, 0]
    first = solved(damped, target[..., None])[:, :1, 0].clamp(0.0, 1.0)
    # The others with that share as it is.
    left = target[:, 1:] - first * gram[:, 1:, 0]
    rest = solved(damped[:, 1:, 1:], left[..., None])[..., 0].clamp(0.0, 1.0)
    return torch.cat([first, rest], dim=1)


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
