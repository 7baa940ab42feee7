"""One sampling run: decides for each network call, remembers, mixes and records."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from .clock import Clock
from .constants import Constants
from .families import Family
from .features import Features, Stream
from .forecast import combine, relative_error
from .guard import Guard
from .probing import Stages
from .report import RunReport, StepRecord
from .schedule import Course, Plan, Schedule, StepKind, StepPlan, counts, longest_gap
from .solver import SolverWatch
from .stages import Stage, StageCall, partial_cost
from .swapping import swapped

# Sigmas come back from the sampler with rounding errors of single precision.
SIGMA_TOLERANCE = 1e-4
# In evaluations per step of the longest gap: how old a remembered output may be when the sampler does not
# follow the steps' own order.
MAX_AGE_PER_STEP = 4

NO_STAGES = "Partial steps were computed in full: no stages are known in a network of class {}."
STALE = "Some steps were computed in full: the sampler went back in sigma, or what was remembered was too old."
UNSEEN = "Some calls were computed in full: nothing was remembered yet for their condition."
NO_FEATURES = "Some partial steps were computed in full: no stage had been remembered before them."
OVER_BUDGET = "The cache budget was too small for all stages; the rest was computed at every step."
GUARDED = "{} planned skips were computed in full: the forecast before them was far from the truth."


def default_flow_time(sigma: float) -> float:
    """Flow time of a noise level where the data keep their size (alpha is 1)."""
    return sigma / (1 + sigma)


class Session:
    """The state of one run, born when sampling starts and dropped when it ends.

    `sigmas` are the run's noise levels, one more than there are steps, from high to low. `flow_time` maps
    a sigma to `s / (1 + s)`, where `s` is noise over data. `region` is 1 where the sampler is free.
    """

    def __init__(
        self,
        schedule: Schedule,
        sigmas: Sequence[float],
        flow_time: Callable[[float], float] = default_flow_time,
        families: dict[str, Family] | None = None,
        region: torch.Tensor | None = None,
    ) -> None:
        self._schedule = schedule
        self._sigmas = [float(sigma) for sigma in sigmas]
        self._flow_time = flow_time
        self._course = Course(tuple(flow_time(sigma) for sigma in self._sigmas))
        self._features = Features(schedule.budget_mb * 1e6, schedule.forecaster.history)
        self._stages = Stages(families, schedule.finer)
        self._constants = Constants(self._features)
        self._ordinals: dict[Hashable, int] = {}
        self._clock = Clock()
        # The host may answer the conditions of a step from several threads, each with its own network.
        self._lock = threading.Lock()
        self._watch = SolverWatch(region)
        self._started = time.perf_counter()
        self._record: StepRecord | None = None
        self._step = StepPlan(StepKind.FULL)
        self._time = 1.0
        self.report = RunReport(schedule.name, self._course.steps, forecaster=schedule.forecaster.name)
        self._plan = self._planned()
        self._guard = Guard(counts(self._plan)[StepKind.SKIP]) if schedule.guarded else None

    def begin_evaluation(self, sigma: float, x: torch.Tensor | None = None) -> None:
        """Start an evaluation of the sampler at `sigma` with input `x`: one decision for all its network calls."""
        index = step_index(sigma, self._sigmas)
        if x is not None and self._adapts:
            self._watch.arrived(x)
            self._replan(index)
        planned = self._plan[index] if index < len(self._plan) else StepPlan(StepKind.FULL)
        self._step = self._trusted(planned)
        self._time = self._flow_time(sigma)
        self._ordinals.clear()
        self._record = StepRecord(index, sigma, self._step.kind.value, planned.kind.value, self._step.mix)
        self.report.records.append(self._record)

    def end_evaluation(self, denoised: torch.Tensor) -> None:
        """Note what the evaluation returned to the sampler."""
        if self._adapts:
            self._watch.answered(denoised)

    def call(self, key: Hashable, network: torch.nn.Module, run: Callable[[], Any]) -> Any:
        """Answer one network call of the evaluation that was begun.

        `key` identifies the condition; `run()` calls `network` once, through whatever the host puts around
        it. The network is answered for in full, in part or not at all; the result is what `run()` returns.
        """
        if self._record is None:
            raise RuntimeError("begin_evaluation comes before the first call.")
        with self._lock:
            ordinal = self._ordinals.get((key, id(network)), 0)
            self._ordinals[key, id(network)] = ordinal + 1
            key = (key, id(network), ordinal)
            step = self._decide(self._features.get(key), network)
        with self._clock.measure(self._record), swapped({network: self._answer(step, key, network)}):
            result = run()
        if self._adapts and isinstance(result, torch.Tensor):
            with self._lock:
                self._watch.called(result)
        return result

    def close(self) -> RunReport:
        """End the run: forget everything and return the report."""
        self._clock.finish()
        self.report.seconds = time.perf_counter() - self._started
        self.report.bytes_kept = self._features.peak_bytes
        self.report.stages = max(map(len, self._stages.found()), default=0)
        for reason in self._stages.reasons:
            self.report.add_reason(reason)
        self.report.stochastic = self._watch.stochastic
        note = self._schedule.note(self._course)
        if note:
            self.report.add_reason(note)
        if self._features.over_budget:
            self.report.add_reason(OVER_BUDGET)
        if self._guard and self._guard.computed:
            self.report.add_reason(GUARDED.format(self._guard.computed))
        self._features.clear()
        self._stages.clear()
        self._constants.clear()
        return self.report

    @property
    def _adapts(self) -> bool:
        """Whether the sampler's kind matters to the schedule."""
        return self._schedule.adapts

    def _planned(self) -> Plan:
        plan = self._schedule.plan(self._course)
        self._max_age = MAX_AGE_PER_STEP * longest_gap(plan)
        return plan

    def _replan(self, index: int) -> None:
        """Plan again, from step `index` on, when the run has shown that noise is added."""
        if self._watch.stochastic and not self._course.stochastic:
            costs = [cost for cost in map(partial_cost, self._stages.found()) if cost is not None]
            self._course = Course(self._course.times, True, max(costs, default=None), passed=index)
            self._plan = self._planned()

    def _trusted(self, step: StepPlan) -> StepPlan:
        if step.kind is not StepKind.SKIP or self._guard is None or self._guard.allows_skip():
            return step
        return StepPlan(StepKind.FULL)

    def _decide(self, stream: Stream | None, network: torch.nn.Module) -> StepPlan:
        """The step's plan, or a full step where the plan cannot be followed, with the reason noted."""
        assert self._record is not None
        stages = self._stages.of(network)
        if self._step.kind is StepKind.FULL:
            return self._step
        reason = self._reason_to_compute(stream, stages, network)
        if reason is None:
            return self._step
        self.report.add_reason(reason)
        self._record.kind = StepKind.FULL.value
        self._record.mix = 1.0
        return StepPlan(StepKind.FULL, keeps_stages=True)

    def _reason_to_compute(
        self, stream: Stream | None, stages: tuple[Stage, ...], network: torch.nn.Module
    ) -> str | None:
        if stream is None or not stream.outputs:
            return UNSEEN
        age = len(self.report.records) - stream.evaluation
        if self._time > stream.times[-1] * (1 + SIGMA_TOLERANCE) or age > self._max_age:
            return STALE
        if self._step.kind is StepKind.PARTIAL and not stages:
            return NO_STAGES.format(type(network).__name__)
        if self._step.kind is StepKind.PARTIAL and not stream.stages:
            return NO_FEATURES
        return None

    def _answer(self, step: StepPlan, key: Hashable, network: torch.nn.Module) -> Callable[..., Any]:
        """The network's `forward` for this call."""
        forward = network.forward
        answer = {StepKind.FULL: self._full, StepKind.PARTIAL: self._partial, StepKind.SKIP: self._skip}[step.kind]

        def answered(*args: Any, **kwargs: Any) -> Any:
            with swapped(self._constants.forwards(key, network)):
                return answer(step, key, network, lambda: forward(*args, **kwargs))

        return answered

    def _full(self, step: StepPlan, key: Hashable, network: torch.nn.Module, compute: Callable[[], Any]) -> Any:
        stream = self._features.start(key)
        stages = self._stages.of(network) if step.keeps_stages else ()
        with self._stages.watching(network), swapped(StageCall(stages, stream, self._features).remembering()):
            output = self._computed(compute)
        if self._guard and stream.outputs:
            self._test_forecast(stream, output)
        self._features.keep_output(stream, self._time, len(self.report.records), output)
        return output

    def _partial(self, step: StepPlan, key: Hashable, network: torch.nn.Module, compute: Callable[[], Any]) -> Any:
        stream = self._remembered(key)
        with swapped(StageCall(self._stages.of(network), stream, self._features).reusing()):
            output = self._computed(compute)
        return output if step.mix == 1 else combine((step.mix, 1 - step.mix), (output, self._forecast(stream)))

    def _skip(self, step: StepPlan, key: Hashable, network: torch.nn.Module, compute: Callable[[], Any]) -> Any:
        return self._forecast(self._remembered(key))

    def _remembered(self, key: Hashable) -> Stream:
        stream = self._features.get(key)
        assert stream is not None
        return stream

    def _forecast(self, stream: Stream) -> Any:
        return combine(self._schedule.forecaster.weights(self._time, list(stream.times)), list(stream.outputs))

    def _test_forecast(self, stream: Stream, output: Any) -> None:
        assert self._guard is not None and self._record is not None
        if self._last_kind() is not StepKind.SKIP:
            return
        error = relative_error(self._forecast(stream), output)
        with self._lock:
            self._record.forecast_error = max(self._record.forecast_error or 0.0, error)
            self._guard.tested(self._record.forecast_error)

    def _last_kind(self) -> StepKind | None:
        """The kind of the evaluation before this one."""
        return StepKind(self.report.records[-2].kind) if len(self.report.records) > 1 else None

    def _computed(self, compute: Callable[[], Any]) -> Any:
        assert self._record is not None
        with self._lock:
            self._record.calls += 1
        return compute()


def step_index(sigma: float, sigmas: Sequence[float]) -> int:
    """The solver step that `sigma` belongs to: the last whose own sigma is not below it."""
    reached = [i for i, start in enumerate(sigmas[:-1]) if start >= sigma * (1 - SIGMA_TOLERANCE)]
    return reached[-1] if reached else 0
