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
from .features import Stream
from .forecast import combine, relative_error
from .memory import FREED, Memory, is_out_of_memory
from .planner import SIGMA_TOLERANCE, Planner
from .probing import Stages
from .repair import FirstOrder, Repair
from .report import RunReport, StepRecord
from .schedule import Plan, Schedule, StepKind, StepPlan
from .stages import Stage, StageCall
from .swapping import Forward, swapped

NO_STAGES = "Partial steps were computed in full: no stages are known in a network of class {}."
STALE = "Some steps were computed in full: the sampler went back in sigma, or what was remembered was too old."
UNSEEN = "Some calls were computed in full: nothing was remembered yet for their condition."
NO_FEATURES = "Some partial steps were computed in full: no stage had been remembered before them."
SLOWER = "Reused steps took as long as full ones: nothing was gained by them."


class Session:
    """The state of one run, born when sampling starts and dropped when it ends.

    `sigmas` are the run's noise levels, one more than there are steps, from high to low. `flow_time` maps
    a sigma to `s / (1 + s)`, where `s` is noise over data. `region` is 1 where the sampler is free.
    `expects_noise` says that the sampler is known to add noise, before the run has shown it. `free_memory` gives
    unused memory back to the device, `is_out_of_memory` tells the errors that say that there is none. `observe` is
    called with the session at the start of each evaluation. `moves` is how far a unit of raw output moves the latent
    at each step, for a schedule that repairs.
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
        is_out_of_memory: Callable[[Exception], bool] = is_out_of_memory,
        observe: Callable[[Session], None] = lambda session: None,
        moves: Sequence[float] = (),
    ) -> None:
        self._schedule = schedule
        self._flow_time = flow_time
        self._observe = observe
        self._stages = Stages(families, schedule.finer, schedule.inner)
        self._memory = Memory(schedule, self._stages, free_memory, is_out_of_memory)
        self._features = self._memory.features
        self._constants = Constants(self._features)
        self._planner = Planner(schedule, sigmas, flow_time, region, expects_noise, self._memory.partial_cost)
        repair = schedule.repair_for(self._planner.steps) if moves else 0.0
        self._repair = Repair(repair, moves)
        self._first_order = FirstOrder() if repair else None
        self._expects_noise = expects_noise and schedule.adapts
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

    def reserve(self, output_bytes: int, stage_bytes: int) -> int:
        """Note and return the bytes that this run expects to remember, at most what its budget and plan allow.

        `output_bytes` are those of one evaluation's outputs, `stage_bytes` about those of all stages.
        """
        may_keep = self._expects_noise or any(step.keeps_stages for step in self.plan)
        self.report.bytes_reserved = self._memory.wanted(output_bytes, stage_bytes if may_keep else 0)
        return self.report.bytes_reserved

    def begin_evaluation(self, sigma: float, x: torch.Tensor | None = None) -> None:
        """Start an evaluation of the sampler at `sigma` with input `x`: one decision for all its network calls."""
        self._memory.step_down()
        self._step, self._record = self._planner.begin(sigma, x)
        if self._step.keeps_stages:
            self._features.start_keyframe()
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
        name = (key, id(network), ordinal)
        result = self._memory.attempt(lambda: self._attempt(name, network, entry, run), self._forget)
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
        for reason in (*self._stages.reasons, *self._planner.reasons(), *self._memory.reasons()):
            self.report.add_reason(reason)
        if self.report.reuse_is_slower:
            self.report.add_reason(SLOWER)
        self._forget()
        self._stages.clear()
        return self.report

    def _forget(self) -> None:
        self._features.clear()
        self._constants.clear()
        self._repair.clear()

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
        if self._memory.gave_up:
            return FREED
        if not stages:
            return NO_STAGES.format(type(network).__name__)
        return None if stream.stages else self._memory.shortage or NO_FEATURES

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
        stream.held = self._memory.stages_of(network) if step.keeps_stages else ()
        remembering = StageCall(stream.held, stream, self._features).remembering()
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
        with self._swapped(network, StageCall(stream.held, stream, self._features).reusing()):
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
