"""One sampling run: decides for each network call, remembers, mixes and records."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from .clock import Clock
from .constants import Constants
from .families import Family
from .features import Features, Stream
from .forecast import REUSE, Forecaster, combine
from .probing import Stages
from .report import RunReport, StepRecord
from .schedule import Schedule, StepKind, StepPlan
from .stages import StageCall
from .swapping import swapped

# Sigmas come back from the sampler with rounding errors of single precision.
SIGMA_TOLERANCE = 1e-4
# In evaluations: how old a remembered output may be when the sampler does not follow the steps' own order.
MAX_AGE_PER_INTERVAL = 4

NO_STAGES = "Partial steps were computed in full: no stages are known in a network of class {}."
STALE = "Some steps were computed in full: the sampler went back in sigma, or what was remembered was too old."
UNSEEN = "Some calls were computed in full: nothing was remembered yet for their condition."
NO_FEATURES = "Some partial steps were computed in full: no stage had been remembered before them."
OVER_BUDGET = "The cache budget was too small for all stages; the rest was computed at every step."


class Session:
    """The state of one run, born when sampling starts and dropped when it ends.

    `sigmas` are the run's noise levels, one more than there are steps, from high to low.
    """

    def __init__(
        self,
        schedule: Schedule,
        sigmas: Sequence[float],
        forecaster: Forecaster = REUSE,
        families: dict[str, Family] | None = None,
    ) -> None:
        self._sigmas = [float(sigma) for sigma in sigmas]
        steps = max(len(self._sigmas) - 1, 0)
        self._plan = schedule.plan(steps)
        self._max_age = MAX_AGE_PER_INTERVAL * schedule.interval
        self._forecaster = forecaster
        self._features = Features(schedule.budget_mb * 1e6, forecaster.history)
        self._stages = Stages(families, schedule.finer)
        self._constants = Constants()
        self._ordinals: dict[Hashable, int] = {}
        self._clock = Clock()
        self._started = time.perf_counter()
        self._record: StepRecord | None = None
        self._step = StepPlan(StepKind.FULL)
        self.report = RunReport(schedule.name, steps)

    def begin_evaluation(self, sigma: float) -> None:
        """Start an evaluation of the sampler at `sigma`: one decision for all its network calls."""
        index = step_index(sigma, self._sigmas)
        self._step = self._plan[index] if index < len(self._plan) else StepPlan(StepKind.FULL)
        self._ordinals.clear()
        self._record = StepRecord(index, sigma, self._step.kind.value, self._step.kind.value, self._step.mix)
        self.report.records.append(self._record)

    def call(self, key: Hashable, network: torch.nn.Module, run: Callable[[], Any]) -> Any:
        """Answer one network call of the evaluation that was begun.

        `key` identifies the condition; `run()` calls `network` once, through whatever the host puts around
        it. The network is answered for in full, in part or not at all; the result is what `run()` returns.
        """
        if self._record is None:
            raise RuntimeError("begin_evaluation comes before the first call.")
        sigma = self._record.sigma
        ordinal = self._ordinals.get(key, 0)
        self._ordinals[key] = ordinal + 1
        key = (key, ordinal)
        step = self._decide(self._features.get(key), sigma, network)
        with self._clock.measure(self._record), swapped({network: self._answer(step, key, sigma, network)}):
            return run()

    def close(self) -> RunReport:
        """End the run: forget everything and return the report."""
        self._clock.finish()
        self.report.seconds = time.perf_counter() - self._started
        self.report.bytes_kept = self._features.peak_bytes
        self.report.stages = self._stages.count
        for reason in self._stages.reasons:
            self.report.add_reason(reason)
        if self._features.over_budget:
            self.report.add_reason(OVER_BUDGET)
        self._features.clear()
        self._stages.clear()
        self._constants.clear()
        return self.report

    def _decide(self, stream: Stream | None, sigma: float, network: torch.nn.Module) -> StepPlan:
        """The step's plan, or a full step where the plan cannot be followed, with the reason noted."""
        assert self._record is not None
        if self._step.kind is StepKind.FULL:
            return self._step
        reason = self._reason_to_compute(stream, sigma, network)
        if reason is None:
            return self._step
        self.report.add_reason(reason)
        self._record.kind = StepKind.FULL.value
        self._record.mix = 1.0
        return StepPlan(StepKind.FULL, keeps_stages=True)

    def _reason_to_compute(self, stream: Stream | None, sigma: float, network: torch.nn.Module) -> str | None:
        if stream is None or not stream.outputs:
            return UNSEEN
        age = len(self.report.records) - stream.evaluation
        if sigma > stream.sigmas[-1] * (1 + SIGMA_TOLERANCE) or age > self._max_age:
            return STALE
        if self._step.kind is StepKind.PARTIAL and not self._stages.of(network):
            return NO_STAGES.format(type(network).__name__)
        if self._step.kind is StepKind.PARTIAL and not stream.stages:
            return NO_FEATURES
        return None

    def _answer(self, step: StepPlan, key: Hashable, sigma: float, network: torch.nn.Module) -> Callable[..., Any]:
        """The network's `forward` for this call."""
        forward = network.forward
        answers = {StepKind.FULL: self._full, StepKind.PARTIAL: self._partial, StepKind.SKIP: self._skip}
        answer = answers[step.kind]

        def answered(*args: Any, **kwargs: Any) -> Any:
            with swapped(self._constants.forwards(key, network)):
                return answer(step, key, sigma, network, lambda: forward(*args, **kwargs))

        return answered

    def _full(
        self, step: StepPlan, key: Hashable, sigma: float, network: torch.nn.Module, compute: Callable[[], Any]
    ) -> Any:
        stream = self._features.start(key)
        stages = self._stages.of(network) if step.keeps_stages else ()
        with self._stages.watching(network), swapped(StageCall(stages, stream, self._features).remembering()):
            output = self._computed(compute)
        self._features.keep_output(stream, sigma, len(self.report.records), output)
        return output

    def _partial(
        self, step: StepPlan, key: Hashable, sigma: float, network: torch.nn.Module, compute: Callable[[], Any]
    ) -> Any:
        stream = self._features.get(key)
        assert stream is not None
        with swapped(StageCall(self._stages.of(network), stream, self._features).reusing()):
            output = self._computed(compute)
        if step.mix == 1:
            return output
        return combine((step.mix, 1 - step.mix), (output, self._forecast(stream, sigma)))

    def _skip(
        self, step: StepPlan, key: Hashable, sigma: float, network: torch.nn.Module, compute: Callable[[], Any]
    ) -> Any:
        stream = self._features.get(key)
        assert stream is not None
        return self._forecast(stream, sigma)

    def _forecast(self, stream: Stream, sigma: float) -> Any:
        return combine(self._forecaster.weights(sigma, list(stream.sigmas)), list(stream.outputs))

    def _computed(self, compute: Callable[[], Any]) -> Any:
        assert self._record is not None
        self._record.calls += 1
        return compute()


def step_index(sigma: float, sigmas: Sequence[float]) -> int:
    """The solver step that `sigma` belongs to: the last whose own sigma is not below it."""
    reached = [i for i, start in enumerate(sigmas[:-1]) if start >= sigma * (1 - SIGMA_TOLERANCE)]
    return reached[-1] if reached else 0
