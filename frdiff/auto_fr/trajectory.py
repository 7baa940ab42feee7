"""A recorded full run, and what its evaluations took."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from ..errors import FRDiffError
from ..planning.run import SamplingRun
from ..schedule_files.model import Milliseconds

CANNOT_FOLLOW = (
    "Auto-FR cannot calibrate this sampler: it did not evaluate the model once at every step. "
    "Choose another sampler, such as euler or dpmpp_2m; the schedule can then be used with this one."
)


@dataclass
class RecordedEvaluation:
    """One evaluation of a full run: the step it belongs to, and the network's outputs on the CPU.

    Outputs are named by their condition and the number of the call among those of the same. `x` and `denoised`, both
    (B, C, ...), are what the sampler gave and got. `partial` are the errors that partial steps had here, by the
    keyframe that they reused and then named like the outputs. `stage_ms` is measured at some evaluations only, and
    slows these down.
    """

    step: int
    sigma: float
    time: float
    x: torch.Tensor
    denoised: torch.Tensor | None = None
    outputs: dict[Hashable, Any] = field(default_factory=dict)
    partial: dict[int, dict[Hashable, torch.Tensor]] = field(default_factory=dict)
    full_ms: float = 0.0
    partial_ms: float = 0.0
    stage_ms: dict[str, float] = field(default_factory=dict)

    @property
    def answers(self) -> list[Any]:
        """The outputs without their names, in the same order at every evaluation."""
        return list(self.outputs.values())


@dataclass
class Trajectory:
    """A full run: its noise levels, its evaluations and its final latent (B, C, ...)."""

    seed: int
    sigmas: tuple[float, ...]
    times: tuple[float, ...]
    evaluations: list[RecordedEvaluation]
    stochastic: bool
    stages: int
    final: torch.Tensor
    # As a schedule sees it.
    run: SamplingRun

    @property
    def milliseconds(self) -> Milliseconds | None:
        """What evaluations and their stages took, as medians; None where every one was slowed down by remembering."""
        full, pairs = [e.full_ms for e in self._undisturbed], self._pairs
        paths = sorted({path for e in self.evaluations for path in e.stage_ms})
        stages = [(path, median(e.stage_ms[path] for e in self.evaluations if path in e.stage_ms)) for path in paths]
        partial = median(e.partial_ms for e in pairs) if pairs else None
        return Milliseconds(median(full), partial, tuple(stages)) if full else None

    @property
    def partial_cost(self) -> float | None:
        """Measured time of a partial step over that of a full one at the same steps."""
        pairs = self._pairs
        if not pairs:
            return None
        return min(median(e.partial_ms for e in pairs) / median(e.full_ms for e in pairs), 1.0)

    @property
    def _undisturbed(self) -> list[RecordedEvaluation]:
        return [e for e in self.evaluations if e.full_ms and not e.stage_ms]

    @property
    def _pairs(self) -> list[RecordedEvaluation]:
        return [e for e in self._undisturbed if e.partial_ms]

    def steps(self) -> list[RecordedEvaluation]:
        """The evaluations; raises FRDiffError when there is not one for each step."""
        if [evaluation.step for evaluation in self.evaluations] != list(range(len(self.sigmas) - 1)):
            raise FRDiffError(CANNOT_FOLLOW)
        return self.evaluations
