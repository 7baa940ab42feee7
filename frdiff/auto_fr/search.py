"""From recorded runs to the schedules of every budget: what each gap between keyframes would cost the final latent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import FRDiffError
from ..forecasting.rules import KRIGING, Weights
from ..planning.keyframes import best_keyframes
from ..planning.prior import FEWEST
from ..sampler.noise_levels import half_log_snr
from ..tensors import tensors_in
from .trajectory import RecordedEvaluation, Trajectory

FASTEST = 8
# Elements of a latent that the guidance is fitted on.
FITTED = 65536
# Columns of the outputs that are multiplied at a time, in double precision, or the differences would drown. Guided
# outputs of a whole run would take half as much memory as its record.
CHUNK = 1 << 16


@dataclass(frozen=True)
class Geometry:
    """A recorded run, as far as errors of its outputs matter.

    `gram` (N, N) are the inner products of the guided outputs of steps i and j; `moves` (N,) how far a unit of error
    in the output of each step moves the latent in an Euler step; `size` is the norm of the final latent. `partial`
    are the norms of the errors of partial steps, by keyframe and step.
    """

    times: tuple[float, ...]
    gram: np.ndarray
    moves: np.ndarray
    size: float
    partial: dict[tuple[int, int], float]

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.moves)


def geometry(trajectory: Trajectory) -> Geometry:
    """The geometry of a run (docs/math.md, equation 2.7).

    Raises FRDiffError when the sampler did not evaluate every step.
    """
    evaluations = trajectory.steps()
    fits = [_guidance(evaluation) for evaluation in evaluations]
    parts = max(len(fit) for fit in fits)
    used = [fit if len(fit) == parts else [0.0] * (parts - 1) + [sum(fit)] for fit in fits]
    scale = np.array([sum(fit) for fit in used])
    shares = np.mean([np.array(fit) / total for fit, total in zip(used, scale, strict=True) if total], axis=0)
    sigmas = np.array(trajectory.sigmas)
    moves = np.abs(np.diff(sigmas) / np.maximum(sigmas[:-1], 1e-12) * scale)
    gram = torch.zeros(len(evaluations), len(evaluations), dtype=torch.float64)
    for start in range(0, _length(evaluations[0], shares), CHUNK):
        columns = torch.stack([_guided(evaluation, shares, start=start) for evaluation in evaluations]).double()
        gram += columns @ columns.T
    partial = {
        (keyframe, evaluation.step): float(_guided(evaluation, shares, list(errors.values())).double().norm())
        for evaluation in evaluations
        for keyframe, errors in evaluation.partial.items()
    }
    return Geometry(trajectory.times, gram.numpy(), moves, float(trajectory.final.double().norm()), partial)


class ForecastCost:
    """The cost of the skipped steps between two keyframes, over one or several recorded runs of the same steps.

    The forecast errors of neighbouring steps point the same way, so they are added as vectors, each with
    how far it moves the final latent (`gains` times the step's own move); the cost is the length of the
    sum over the size of the final latent, to the power `peak`: 1 adds up lengths, 2 suppresses peaks
    (docs/math.md, equation 2.8). `gains` are (N,).
    """

    def __init__(
        self, runs: Sequence[Geometry], gains: np.ndarray, weights: Weights = KRIGING.weights, peak: float = 2.0
    ) -> None:
        self._times = runs[0].times
        self._rule = weights
        self._peak = peak
        self._known: dict[tuple[int, int, int], tuple[float, float]] = {}
        self._runs = [(run.gram, run.moves * gains / run.size) for run in runs]
        self._sums = [_prefix_sums(gram * np.outer(d, d)) for gram, d in self._runs]
        self._crossed = [np.cumsum(np.pad(gram * d, ((0, 0), (1, 0))), axis=1) for gram, d in self._runs]

    def __call__(self, before: int, last: int, following: int) -> float:
        if following == last + 1:
            return 0.0
        weights = np.array([self._weights(before, last, step) for step in range(last + 1, following)])
        return float(np.mean([self._length(r, before, last, following, weights) ** self._peak
                              for r in range(len(self._runs))]))  # fmt: skip

    def _weights(self, before: int, last: int, step: int) -> tuple[float, float]:
        """What a forecast of `step` takes from the two keyframes before it."""
        place = (before, last, step)
        if place not in self._known:
            times = [self._times[last]] if before == last else [self._times[before], self._times[last]]
            weights = [0.0, *self._rule(self._times[step], times)]
            self._known[place] = (weights[-2], weights[-1])
        return self._known[place]

    def _length(self, run: int, before: int, last: int, following: int, weights: np.ndarray) -> float:
        """`|sum_i d_i (w_before,i h_before + w_last,i h_last - h_i)|` from inner products alone.

        `weights` (G, 2) are those of the G steps between (docs/math.md, equation 2.9).
        """
        gram, d = self._runs[run]
        keys = [before, last]
        on_keys = d[last + 1 : following] @ weights
        crossed = self._crossed[run][keys, following] - self._crossed[run][keys, last + 1]
        sums = self._sums[run]
        low, high = last + 1, following
        own = sums[high, high] - sums[low, high] - sums[high, low] + sums[low, low]
        squared = on_keys @ gram[np.ix_(keys, keys)] @ on_keys - 2 * on_keys @ crossed + own
        return float(np.sqrt(max(squared, 0.0)))


@dataclass(frozen=True)
class PartialError:
    """How the error of a run's partial steps grows: `size[step] * |lambda distance to the keyframe| ** power`.

    `size` is (N,) (docs/math.md, equation 2.10).
    """

    size: np.ndarray
    power: float


class PartialCost:
    """The cost of the partial steps between two keyframes, like ForecastCost.

    The errors were recorded for some keyframes only. They are carried over to others by what is fitted to each run
    (PartialError; docs/math.md, equation 2.10). `gains` are (N,).
    """

    def __init__(self, runs: Sequence[Geometry], gains: np.ndarray, peak: float = 2.0) -> None:
        self._lambda = np.array([half_log_snr(t) for t in runs[0].times])
        self._peak = peak
        fitted = [self._fitted(run) for run in runs]
        self._runs = [PartialError(each.size * run.moves * gains / run.size, each.power)
                      for each, run in zip(fitted, runs, strict=True)]  # fmt: skip

    def __call__(self, before: int, last: int, following: int) -> float:
        steps = np.arange(last + 1, following)
        apart = self._distance(last, steps)
        return float(np.mean([np.sum(apart**run.power * run.size[steps]) ** self._peak for run in self._runs]))

    def _fitted(self, run: Geometry) -> PartialError:
        if not run.partial:
            raise FRDiffError("No partial steps were recorded; the stages of this network are not known.")
        pairs = [(a, i, max(error, 1e-30)) for (a, i), error in sorted(run.partial.items())]
        keyframes, steps = np.array([a for a, _, _ in pairs]), np.array([i for _, i, _ in pairs])
        errors, apart = np.log([error for _, _, error in pairs]), np.log(self._distance(keyframes, steps))
        # Within a keyframe's steps the size hardly changes, and the distance does.
        centred = [(apart[keyframes == a] - apart[keyframes == a].mean(),
                    errors[keyframes == a] - errors[keyframes == a].mean()) for a in set(keyframes)]  # fmt: skip
        above = sum(float(np.sum(x * y)) for x, y in centred)
        below = sum(float(np.sum(x * x)) for x, _ in centred)
        power = min(max(above / below, 0.0), 2.0) if below > 0 else 1.0
        return PartialError(np.exp(np.interp(np.arange(run.steps), steps, errors - power * apart)), power)

    def _distance(self, keyframe: int | np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Distances in lambda from one keyframe, or one for each, to `steps` (G,); above 0, and of the same shape."""
        return np.maximum(np.abs(self._lambda[steps] - self._lambda[keyframe]), 1e-6)


SegmentCosts = ForecastCost | PartialCost


def total_cost(cost: SegmentCosts, keyframes: Sequence[int], steps: int) -> float:
    """The cost of a whole run with these keyframes (docs/math.md, equation 2.1)."""
    ends = [keyframes[0], *keyframes, steps]
    return sum(cost(*ends[k : k + 3]) for k in range(len(keyframes)))


def front(cost: SegmentCosts, steps: int, longest_gap: int) -> list[tuple[int, ...]]:
    """The best keyframes for each number of full steps from 1 to `steps`; an empty tuple where there are none."""
    return best_keyframes(steps, cost, longest_gap)


def fewest_full(steps: int) -> float:
    """How many full steps a schedule has at least."""
    return max(steps / FASTEST, min(FEWEST, steps))


def interpolated_gains(measured: dict[float, float], steps: int) -> np.ndarray:
    """How much farther errors travel than one Euler step, (N,), from what was measured at some steps.

    See docs/math.md, equation 2.11.
    """
    places = sorted(measured)
    return np.exp(np.interp(np.arange(steps), places, np.log([measured[place] for place in places])))


def _guidance(evaluation: RecordedEvaluation) -> list[float]:
    """How much each condition's raw output counts in what the sampler got: `denoised = c x + sum_k b_k output_k`.

    Every prediction type and linear guidance has this form. Outputs of other shapes count alike.
    """
    parts = _parts(evaluation, evaluation.answers)
    if parts is None or evaluation.denoised is None:
        return [evaluation.sigma]
    stride = max(evaluation.x.numel() // FITTED, 1)
    columns = torch.stack([tensor.reshape(-1)[::stride].double() for tensor in (evaluation.x, *parts)], dim=1)
    target = evaluation.denoised.reshape(-1)[::stride].double()
    solution = torch.linalg.lstsq(columns, target[:, None], driver="gelsd").solution
    return [float(b) for b in solution[1:, 0]]


def _guided(
    evaluation: RecordedEvaluation, shares: np.ndarray, outputs: list[torch.Tensor] | None = None,
    start: int | None = None,
) -> torch.Tensor:  # fmt: skip
    """The guided output as a row (M,), all of it or CHUNK columns from `start`; `shares` (P,) of P conditions."""
    columns = slice(None) if start is None else slice(start, start + CHUNK)
    outputs = evaluation.answers if outputs is None else outputs
    parts = _parts(evaluation, outputs)
    if parts is None or len(parts) != len(shares):
        return torch.cat([tensor.reshape(-1).float() for tensor in tensors_in(outputs)])[columns]
    return sum(
        (float(share) * part.reshape(-1)[columns].float() for share, part in zip(shares, parts, strict=True)),
        torch.zeros(()),
    )


def _length(evaluation: RecordedEvaluation, shares: np.ndarray) -> int:
    """The elements of the guided output; `shares` (P,) of P conditions."""
    parts = _parts(evaluation, evaluation.answers)
    if parts is None or len(parts) != len(shares):
        return sum(tensor.numel() for tensor in tensors_in(evaluation.answers))
    return evaluation.x.numel()


def _parts(evaluation: RecordedEvaluation, outputs: list[torch.Tensor]) -> list[torch.Tensor] | None:
    """The output (B, C, ...) of each condition, or None when they have not the latent's shape."""
    parts = []
    for output in outputs:
        if not isinstance(output, torch.Tensor) or output.shape[1:] != evaluation.x.shape[1:]:
            return None
        parts += output.split(len(evaluation.x))
    return parts if all(part.shape == evaluation.x.shape for part in parts) else None


def _prefix_sums(table: np.ndarray) -> np.ndarray:
    """Sums over all rectangles from the corner: (N, N) -> (N + 1, N + 1)."""
    return np.cumsum(np.cumsum(np.pad(table, ((1, 0), (1, 0))), axis=0), axis=1)
