"""One sampling run: answers each network call in full, in part or from memory, and records what it did."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ..blocks.discovery import Stages
from ..blocks.families import Family
from ..blocks.invariants import Constants
from ..blocks.stages import StageCall
from ..engine import default_flow_time, noise_prediction_scales
from ..forecasting.prediction import RAW, Space
from ..forecasting.repair import Repair, repair_of
from ..forecasting.rules import REUSE, Weights, combine, relative_error
from ..forward_patch import Forward, swapped
from ..planning.schedule import Plan, Schedule, StepKind, StepPlan
from ..reporting.report import RunReport, StepRecord
from ..sampler.response import Rehearsal
from ..store import Stream
from .budget import Memory, is_out_of_memory
from .clock import Clock
from .follower import Planner
from .ordinals import Ordinals
from .reuse_check import Call, Following, Moment

TAKEN_APART = (
    "torch compiled the network as a whole, and partial steps take it apart: compile its blocks instead, or "
    "use the dial."
)
SLOWER = "Reused steps took as long as full ones: nothing was gained by them."


class Session:
    """The state of one run, born when sampling starts and dropped when it ends.

    `sigmas` are the run's noise levels, one more than there are steps, from high to low. `flow_time` maps
    a sigma to `s / (1 + s)`, where `s` is noise over data. `region` is 1 where the sampler is free.
    `rehearsal` and `scales` are those of RunFacts. `free_memory` gives unused memory back to the device,
    `is_out_of_memory` tells the errors that say that there is none. `observe` is called with the session at the
    start of each evaluation.
    """

    def __init__(
        self,
        schedule: Schedule,
        sigmas: Sequence[float],
        flow_time: Callable[[float], float] = default_flow_time,
        families: dict[str, Family] | None = None,
        region: torch.Tensor | None = None,
        rehearsal: Rehearsal | None = None,
        scales: Callable[[float], tuple[float, float]] = noise_prediction_scales,
        free_memory: Callable[[], None] = lambda: None,
        is_out_of_memory: Callable[[Exception], bool] = is_out_of_memory,
        observe: Callable[[Session], None] = lambda session: None,
    ) -> None:
        self._schedule = schedule
        self._flow_time = flow_time
        self._scales = scales
        self._observe = observe
        self._stages = Stages(families, schedule.finer, schedule.inner)
        self._memory = Memory(schedule, self._stages, free_memory, is_out_of_memory)
        self._features = self._memory.features
        self._constants = Constants(self._features)
        self._following = Following(self._stages, self._memory)
        self._planner = Planner(schedule, sigmas, flow_time, region, rehearsal)
        self._space = Space(bool(self._planner.stochastic))
        # A masked run changes the latent between its steps.
        solver = None if region is not None else self._planner.solver
        scaled = [self._space_at(sigma).scales for sigma in sigmas[:-1]] if solver else []
        self._repair = repair_of(schedule.repair, solver, scaled)
        self._compiled: set[int] = set()
        self._ordinals = Ordinals()
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
        """The plan as it stands now: a part for each solver step, or for each evaluation."""
        return self._planner.plan

    @property
    def owners(self) -> Sequence[int]:
        """The solver steps that the parts of the plan belong to, where there is one for each evaluation; else empty."""
        return self._planner.owners

    @property
    def sigmas(self) -> Sequence[float]:
        """The run's noise levels, one more than there are steps."""
        return self._planner.sigmas

    def reserve(self, output_bytes: int, stage_bytes: int) -> int:
        """Note and return the bytes that this run expects to remember, at most what its budget and plan allow.

        `output_bytes` are those of one evaluation's outputs, `stage_bytes` about those of all stages.
        """
        wanted = self._memory.wanted(output_bytes, stage_bytes if self._planner.keeps_stages else 0)
        self.report.bytes_reserved = wanted if self._planner.keeps_outputs else 0
        return self.report.bytes_reserved

    def begin_evaluation(self, sigma: float, x: torch.Tensor | None = None) -> None:
        """Start an evaluation of the sampler at `sigma` with input `x`: one decision for all its network calls."""
        self._step, self._record = self._planner.begin(sigma, x)
        self.report.records.append(self._record)
        self._ordinals.start()
        if self._planner.keeps_outputs:
            self._prepare(sigma)
        self._observe(self)

    def end_evaluation(self, denoised: torch.Tensor) -> None:
        """Note what the evaluation returned to the sampler."""
        self._planner.noted(denoised)

    def call(
        self, key: Hashable, network: torch.nn.Module, run: Callable[[], Any],
        compiled: torch.nn.Module | None = None, x: Any = None,
    ) -> Any:  # fmt: skip
        """Answer one network call of the evaluation that was begun.

        `key` identifies the condition; `run()` calls `network` once, through whatever the host puts around
        it. The network is answered for in full, in part or not at all; the result is what `run()` returns.
        `compiled` is the module that stands for the network where torch compiled it as a whole; `x` is the latent
        that the call is about, as the sampler has it: a tensor, or a list of them where several are sampled as one.
        """
        if self._record is None:
            raise RuntimeError("begin_evaluation comes before the first call.")
        numbered = self._ordinals.numbered((key, id(network)))
        if compiled is not None:
            self._compiled.add(id(network))
        call = Call(numbered, network, network if compiled is None else compiled, x)
        attempt = self._attempt if self._planner.keeps_outputs else self._computed_alone
        result = self._memory.attempt(lambda: attempt(call, run), self._forget)
        with self._lock:
            self._planner.noted_call(result)
        return result

    def close(self) -> RunReport:
        """End the run: forget everything and return the report."""
        self._clock.finish()
        self.report.seconds = time.perf_counter() - self._started
        self.report.bytes_kept = self._features.peak_bytes
        self.report.stages = max(map(len, self._stages.found()), default=0)
        self.report.stochastic = self._planner.stochastic
        for reason in (*self._stages.reasons, *self._planner.reasons(), *self._memory.reasons()):
            self.report.add_reason(reason)
        if self.report.reuse_is_slower:
            self.report.add_reason(SLOWER)
        if self._compiled and self._planner.keeps_stages:
            self.report.add_reason(TAKEN_APART)
        self._forget()
        self._stages.clear()
        return self.report

    def _forget(self) -> None:
        self._features.clear()
        self._constants.clear()
        if self._repair:
            self._repair.clear()

    def _prepare(self, sigma: float) -> None:
        """Get ready to remember what the evaluation computes, or to answer for it."""
        evaluation, max_age = len(self.report.records), self._planner.max_age
        self._memory.step_down()
        self._drop_older_than(evaluation - 1 - max_age)
        if self._step.keeps_stages:
            self._features.start_keyframe()
        # Raw outputs are remembered as they are, whatever they count for.
        self._enter(Space(True, *self._scales(sigma)) if self._planner.stochastic else RAW)
        self._time = self._flow_time(sigma)
        self._following.begin(Moment(self._step.kind, self._time, evaluation, max_age, self._space))

    def _drop_older_than(self, evaluation: int) -> None:
        """Conditions that came and went, as those of moving context windows do, would be kept until the end."""
        gone = self._features.drop_before(evaluation)
        if self._repair:
            self._repair.drop(gone)

    def _space_at(self, sigma: float) -> Space:
        return Space(self._space.denoised, *self._scales(sigma))

    def _enter(self, space: Space) -> None:
        """What was remembered of raw outputs is of no use when the run has shown that noise is added."""
        if space.denoised != self._space.denoised:
            self._forget()
            self._repair = None
        self._space = space

    def _attempt(self, call: Call, run: Callable[[], Any]) -> Any:
        assert self._record is not None
        with self._lock:
            stream = self._features.get(call.key)
            step = self._decide(call)
        answer = self._answer(step, call, stream, call.entry.forward)
        with self._clock.measure(self._record, call.device), swapped({call.entry: answer}):
            return run()

    def _computed_alone(self, call: Call, run: Callable[[], Any]) -> Any:
        """Answer a call of a run in which no output will be used again."""
        assert self._record is not None
        constants = self._constants.forwards(call.key, call.network)
        with self._clock.measure(self._record, call.device), swapped(constants):
            return self._computed(run)

    def _decide(self, call: Call) -> StepPlan:
        """The step's plan, or a full step where the plan cannot be followed, with the reason noted."""
        assert self._record is not None
        reason = self._following.obstacle(call)
        if reason is None:
            return self._step
        self.report.add_reason(reason)
        self._record.kind = StepKind.FULL.value
        self._record.mix = 1.0
        return StepPlan(StepKind.FULL, keeps_stages=self._planner.keeps_stages)

    def _answer(self, step: StepPlan, call: Call, stream: Stream | None, forward: Forward) -> Forward:
        """The network's `forward` for this call."""

        def answered(*args: Any, **kwargs: Any) -> Any:
            if step.kind is StepKind.SKIP and stream is not None:
                return self._skipped(call, stream)
            with swapped(self._constants.forwards(call.key, call.network)):
                if step.kind is StepKind.PARTIAL and stream is not None:
                    return self._partial(step, call, stream, lambda: forward(*args, **kwargs))
                return self._full(step, call, lambda: forward(*args, **kwargs))

        return answered

    def _skipped(self, call: Call, stream: Stream) -> Any:
        forecast, repair = self._forecast(stream), self._repairing
        addition = repair.forecast(call.key, self._place, self._time, forecast) if repair else None
        if addition is not None:
            forecast = combine((1.0, 1.0), (forecast, addition))
        return self._space.answer(forecast, call.x, stream.dtype)

    def _full(self, step: StepPlan, call: Call, compute: Callable[[], Any]) -> Any:
        stream, network = self._features.start(call.key), call.network
        stream.held = self._memory.stages_of(network) if step.keeps_stages else ()
        remembering = StageCall(stream.held, stream, self._features).remembering()
        learning = self._stages.watching(network) if self._planner.keeps_stages else nullcontext()
        with learning, self._swapped(network, remembering):
            output = self._computed(compute)
        remembered = self._space.remembered(output, call.x)
        if self._planner.guard and stream.outputs:
            self._test_forecast(stream, remembered)
        stream.dtype = getattr(output[0] if isinstance(output, (list, tuple)) else output, "dtype", None)
        self._features.keep_output(stream, self._time, len(self.report.records), remembered)
        repair = self._repairing
        correction = repair.computed(call.key, self._place, stream, self._weights) if repair else None
        return output if correction is None else self._space.corrected(output, correction)

    def _partial(self, step: StepPlan, call: Call, stream: Stream, compute: Callable[[], Any]) -> Any:
        with self._swapped(call.network, StageCall(stream.held, stream, self._features).reusing()):
            output = self._computed(compute)
        if step.mix == 1:
            return output
        forecast = self._space.answer(self._forecast(stream), call.x, stream.dtype)
        return combine((step.mix, 1 - step.mix), (output, forecast))

    @property
    def _place(self) -> int:
        return self.report.records[-1].step

    @property
    def _repairing(self) -> Repair | None:
        """The repair, as long as the sampler does what it rehearsed: one evaluation for each step."""
        return self._repair if len(self.report.records) == self._place + 1 else None

    def _swapped(
        self, network: torch.nn.Module, forwards: dict[torch.nn.Module, Forward]
    ) -> AbstractContextManager[None]:
        if not forwards:
            return nullcontext()
        compiled = id(network) in self._compiled or any("_orig_mod" in s.path for s in self._stages.of(network))
        return swapped(forwards, compiled)

    def _forecast(self, stream: Stream) -> Any:
        return combine(self._weights(self._time, list(stream.times)), list(stream.outputs))

    @property
    def _weights(self) -> Weights:
        if not self._space.denoised:
            return self._schedule.forecaster.weights_for(self._planner.remembers)
        # Several evaluations of a step are too close together for a line through them.
        solver = self._planner.solver
        return (REUSE if solver is None or solver.forgets else self._schedule.noisy_forecaster).weights

    def _test_forecast(self, stream: Stream, output: Any) -> None:
        """At a full step after a skipped one, compare the forecast that would have been made with the truth."""
        guard, record, before = self._planner.guard, self._record, self.report.records[-2:-1]
        if guard is None or record is None or not before or before[0].kind != StepKind.SKIP.value:
            return
        error = relative_error(self._forecast(stream), output)
        with self._lock:
            record.forecast_error = max(record.forecast_error or 0.0, error)
            if not self._space.denoised:
                # With fresh noise early denoised latents differ by more than their size, to no effect.
                guard.tested(record.forecast_error)

    def _computed(self, compute: Callable[[], Any]) -> Any:
        assert self._record is not None
        with self._lock:
            self._record.calls += 1
        return compute()
