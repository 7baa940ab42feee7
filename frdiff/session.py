"""One sampling run: answers each network call in full, in part or from memory, and records what it did."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from .clock import Clock
from .constants import Constants
from .facts import default_flow_time
from .families import Family
from .features import Features, Stream
from .forecast import combine, relative_error
from .planner import SIGMA_TOLERANCE, Planner
from .probing import Stages
from .repair import FirstOrder, Repair
from .report import RunReport, StepRecord
from .schedule import Plan, Schedule, StepKind, StepPlan
from .stages import Stage, StageCall, partial_cost
from .swapping import Forward, swapped

NO_STAGES = "Partial steps were computed in full: no stages are known in a network of class {}."
STALE = "Some steps were computed in full: the sampler went back in sigma, or what was remembered was too old."
UNSEEN = "Some calls were computed in full: nothing was remembered yet for their condition."
NO_FEATURES = "Some partial steps were computed in full: no stage had been remembered before them."
OVER_BUDGET = "The cache budget was too small for all stages; the rest was computed at every step."
SLOWER = "Reused steps took as long as full ones: nothing was gained by them."
FREED = "Memory ran out: what was remembered was freed, and partial steps were computed in full from there on."


class Session:
    """The state of one run, born when sampling starts and dropped when it ends.

    `sigmas` are the run's noise levels, one more than there are steps, from high to low. `flow_time` maps
    a sigma to `s / (1 + s)`, where `s` is noise over data. `region` is 1 where the sampler is free.
    `expects_noise` says that the sampler is known to add noise, before the run has shown it. `free_memory` gives
    unused memory back to the device. `observe` is called with the session at the start of each evaluation.
    `moves` is how far a unit of raw output moves the latent at each step, for a schedule that repairs.
    """

    def __init__(
        self,
        schedule: Schedule,
        sigmas: Sequence[float],
        flow_time: Callable[[float], float] = default_flow_time,
        families: dict[str, Family] | None = None,
        region: torch.Tensor | None = None,
        expects_noise: bool = False,
        free_memory: Callable[[], None] = lambda: None,
        observe: Callable[[Session], None] = lambda session: None,
        moves: Sequence[float] = (),
    ) -> None:
        self._schedule = schedule
        self._flow_time = flow_time
        self._free_memory = free_memory
        self._observe = observe
        self._out_of_memory = False
        self._features = Features(schedule.budget_mb * 1e6, schedule.forecaster.history)
        self._stages = Stages(families, schedule.finer, schedule.inner)
        self._constants = Constants(self._features)
        self._planner = Planner(schedule, sigmas, flow_time, region, expects_noise, self._partial_cost)
        repair = schedule.repair_for(self._planner.steps) if moves else 0.0
        self._repair = Repair(repair, moves)
        self._first_order = FirstOrder() if repair else None
        self._compiled: set[int] = set()
        self._ordinals: dict[Hashable, int] = {}
        self._clock = Clock()
        # The host may answer the conditions of a step from several threads, each with its own network.
        self._lock = threading.Lock()
        self._started = time.perf_counter()
        self._record: StepRecord | None = None
        self._step = StepPlan(StepKind.FULL)
        self._time = 1.0
        self.report = RunReport(schedule.name, self._planner.steps, forecaster=schedule.forecaster.name)

    @property
    def plan(self) -> Plan:
        """The plan of each solver step, as it stands now."""
        return self._planner.plan

    @property
    def sigmas(self) -> Sequence[float]:
        """The run's noise levels, one more than there are steps."""
        return self._planner.sigmas

    def begin_evaluation(self, sigma: float, x: torch.Tensor | None = None) -> None:
        """Start an evaluation of the sampler at `sigma` with input `x`: one decision for all its network calls."""
        self._step, self._record = self._planner.begin(sigma, x)
        if self._first_order and x is not None:
            self._first_order.arrived(sigma, x)
        self._time = self._flow_time(sigma)
        self._ordinals.clear()
        self.report.records.append(self._record)
        self._observe(self)

    def end_evaluation(self, denoised: torch.Tensor) -> None:
        """Note what the evaluation returned to the sampler."""
        self._planner.noted(denoised)
        if self._first_order:
            self._first_order.answered(denoised)

    def call(
        self, key: Hashable, network: torch.nn.Module, run: Callable[[], Any], compiled: torch.nn.Module | None = None
    ) -> Any:
        """Answer one network call of the evaluation that was begun.

        `key` identifies the condition; `run()` calls `network` once, through whatever the host puts around
        it. The network is answered for in full, in part or not at all; the result is what `run()` returns.
        `compiled` is the module that stands for the network where torch compiled it as a whole.
        """
        if self._record is None:
            raise RuntimeError("begin_evaluation comes before the first call.")
        with self._lock:
            ordinal = self._ordinals.get((key, id(network)), 0)
            self._ordinals[key, id(network)] = ordinal + 1
        if compiled is not None:
            self._compiled.add(id(network))
        entry = network if compiled is None else compiled
        result = self._with_memory(lambda: self._attempt((key, id(network), ordinal), network, entry, run))
        with self._lock:
            self._planner.noted_call(result)
        return result

    def close(self) -> RunReport:
        """End the run: forget everything and return the report."""
        self._clock.finish()
        self.report.seconds = time.perf_counter() - self._started
        self.report.bytes_kept = self._features.peak_bytes
        self.report.stages = max(map(len, self._stages.found()), default=0)
        self.report.stochastic = self._planner.watch.stochastic
        for reason in (*self._stages.reasons, *self._planner.reasons()):
            self.report.add_reason(reason)
        if self._features.over_budget:
            self.report.add_reason(OVER_BUDGET)
        if self.report.reuse_is_slower:
            self.report.add_reason(SLOWER)
        self._features.clear()
        self._repair.clear()
        self._stages.clear()
        self._constants.clear()
        return self.report

    def _partial_cost(self) -> float | None:
        costs = [cost for cost in map(partial_cost, self._stages.found()) if cost is not None]
        return max(costs, default=None)

    def _with_memory(self, attempt: Callable[[], Any]) -> Any:
        """Make an attempt, and once in a run, when memory ran out, another with everything forgotten."""
        try:
            return attempt()
        except torch.cuda.OutOfMemoryError:
            if self._out_of_memory:
                raise
        # Not in the handler, whose traceback holds the tensors of the failed call.
        with self._lock:
            self._out_of_memory = True
            self._features.clear()
            self._repair.clear()
        self.report.add_reason(FREED)
        self._free_memory()
        return attempt()

    def _attempt(self, key: Hashable, network: torch.nn.Module, entry: torch.nn.Module, run: Callable[[], Any]) -> Any:
        assert self._record is not None
        with self._lock:
            stream = self._features.get(key)
            step = self._decide(stream, network)
        answer = self._answer(step, key, stream, network, entry.forward)
        with self._clock.measure(self._record), swapped({entry: answer}):
            return run()

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
        if self._time > stream.times[-1] * (1 + SIGMA_TOLERANCE) or age > self._planner.max_age:
            return STALE
        if self._step.kind is StepKind.SKIP:
            return None
        if self._out_of_memory:
            return FREED
        if not stages:
            return NO_STAGES.format(type(network).__name__)
        return None if stream.stages else NO_FEATURES

    def _answer(
        self, step: StepPlan, key: Hashable, stream: Stream | None, network: torch.nn.Module, forward: Forward
    ) -> Forward:
        """The network's `forward` for this call."""

        def answered(*args: Any, **kwargs: Any) -> Any:
            if step.kind is StepKind.SKIP and stream is not None:
                forecast = self._forecast(stream)
                if self._repairs():
                    self._repair.forecast(key, self._place(), self._time, forecast)
                return forecast
            with swapped(self._constants.forwards(key, network)):
                if step.kind is StepKind.PARTIAL and stream is not None:
                    return self._partial(step, stream, network, lambda: forward(*args, **kwargs))
                return self._full(step, key, network, lambda: forward(*args, **kwargs))

        return answered

    def _full(self, step: StepPlan, key: Hashable, network: torch.nn.Module, compute: Callable[[], Any]) -> Any:
        stream = self._features.start(key)
        stages = self._stages.of(network) if step.keeps_stages and not self._out_of_memory else ()
        remembering = StageCall(stages, stream, self._features).remembering()
        with self._stages.watching(network), self._swapped(network, remembering):
            output = self._computed(compute)
        if self._planner.guard and stream.outputs:
            self._test_forecast(stream, output)
        self._features.keep_output(stream, self._time, len(self.report.records), output)
        if not self._repairs():
            return output
        return self._repair.repaired(key, self._place(), stream, self._schedule.forecaster, output)

    def _place(self) -> int:
        return self.report.records[-1].step

    def _repairs(self) -> bool:
        """Whether the sampler has made one first-order step after the other, without which a repair has no meaning."""
        return bool(self._first_order and self._first_order.holds) and len(self.report.records) == self._place() + 1

    def _partial(self, step: StepPlan, stream: Stream, network: torch.nn.Module, compute: Callable[[], Any]) -> Any:
        with self._swapped(network, StageCall(self._stages.of(network), stream, self._features).reusing()):
            output = self._computed(compute)
        return output if step.mix == 1 else combine((step.mix, 1 - step.mix), (output, self._forecast(stream)))

    def _swapped(
        self, network: torch.nn.Module, forwards: dict[torch.nn.Module, Forward]
    ) -> AbstractContextManager[None]:
        compiled = id(network) in self._compiled or any("_orig_mod" in s.path for s in self._stages.of(network))
        return swapped(forwards, compiled)

    def _forecast(self, stream: Stream) -> Any:
        return combine(self._schedule.forecaster.weights(self._time, list(stream.times)), list(stream.outputs))

    def _test_forecast(self, stream: Stream, output: Any) -> None:
        """At a full step after a skipped one, compare the forecast that would have been made with the truth."""
        guard, record, before = self._planner.guard, self._record, self.report.records[-2:-1]
        if guard is None or record is None or not before or before[0].kind != StepKind.SKIP.value:
            return
        error = relative_error(self._forecast(stream), output)
        with self._lock:
            record.forecast_error = max(record.forecast_error or 0.0, error)
            guard.tested(record.forecast_error)

    def _computed(self, compute: Callable[[], Any]) -> Any:
        assert self._record is not None
        with self._lock:
            self._record.calls += 1
        return compute()
