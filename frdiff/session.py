"""One sampling run: decides for each network call, remembers, mixes and records."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Any

import torch

from .clock import Clock
from .families import Family
from .features import Features, Stream
from .forecast import combine, relative_error
from .guard import Guard
from .report import RunReport, StepRecord
from .schedule import Course, Plan, Schedule, StepKind, StepPlan, counts, longest_gap
from .solver import SolverWatch
from .stages import Forward, Stage, StageCall, find_stages, partial_cost, swapped

# Sigmas come back from the sampler with rounding errors of single precision.
SIGMA_TOLERANCE = 1e-4
# How near a step's own noise level its first evaluation is.
GRID_TOLERANCE = 1e-3
# In evaluations per step of the longest gap: how old a remembered output may be when the sampler does not
# follow the steps' own order.
MAX_AGE_PER_STEP = 4

NOISE_ALONE = (
    "Every step was computed in full: the sampler adds noise, and no stages are known that would let it through."
)
NO_STAGES = "Partial steps were computed in full: no stages are known in a network of class {}."
STALE = "Some steps were computed in full: the sampler went back in sigma, or what was remembered was too old."
UNSEEN = "Some calls were computed in full: nothing was remembered yet for their condition."
OVER_BUDGET = "The cache budget was too small for all stages; the rest was computed at every step."
OWN_LEVELS = "Steps were computed in full: the sampler chooses noise levels of its own, which no plan can know."
UPWARD = "Every step was computed in full: the noise levels do not go down from step to step."
SPLIT = "The sampler uses the unconditional output by itself (CFG++): with a cfg above 2, fewer steps serve better."
NOTHING_TO_SKIP = "The schedule has nothing to skip in a run of {} steps."
SLOWER = "Reused steps took as long as full ones: nothing was gained by them."
FREED = "Memory ran out: what was remembered was freed, and partial steps were computed in full from there on."
GUARDED = "{} planned skips were computed in full: the forecast before them was far from the truth."


def default_flow_time(sigma: float) -> float:
    """Flow time of a noise level where the data keep their size (alpha is 1)."""
    return sigma / (1 + sigma)


class Session:
    """The state of one run, born when sampling starts and dropped when it ends.

    `sigmas` are the run's noise levels, one more than there are steps, from high to low. `flow_time` maps
    a sigma to `s / (1 + s)`, where `s` is noise over data. `region` is 1 where the sampler is free.
    `free_memory` gives unused memory back to the device; it is called when a call ran out of it.
    """

    def __init__(
        self,
        schedule: Schedule,
        sigmas: Sequence[float],
        flow_time: Callable[[float], float] = default_flow_time,
        families: dict[str, Family] | None = None,
        region: torch.Tensor | None = None,
        free_memory: Callable[[], None] = lambda: None,
    ) -> None:
        self._schedule = schedule
        self._sigmas = [float(sigma) for sigma in sigmas]
        self._flow_time = flow_time
        self._course = Course(tuple(flow_time(sigma) for sigma in self._sigmas))
        self._families = families
        self._free_memory = free_memory
        self._out_of_memory = False
        self._features = Features(schedule.budget_mb * 1e6, schedule.forecaster.history)
        self._stages: dict[int, tuple[Stage, ...]] = {}
        self._traced: set[int] = set()
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
        self._refusal = UPWARD if any(b > a for a, b in pairwise(self._sigmas)) else None
        self._plan = self._planned()
        self._guard = Guard(counts(self._plan)[StepKind.SKIP]) if schedule.guarded else None

    def begin_evaluation(self, sigma: float, x: torch.Tensor | None = None) -> None:
        """Start an evaluation of the sampler at `sigma` with input `x`: one decision for all its network calls."""
        if x is not None and self._adapts:
            self._watch.arrived(x)
            self._replan()
        index = step_index(sigma, self._sigmas)
        self._follow(index, sigma)
        owner = self._owner(index)
        planned = self._plan[owner] if owner < len(self._plan) else StepPlan(StepKind.FULL)
        self._step = self._trusted(planned)
        self._time = self._flow_time(sigma)
        self._ordinals.clear()
        self._record = StepRecord(index, sigma, self._step.kind.value, planned.kind.value, self._step.mix)
        self.report.records.append(self._record)

    def end_evaluation(self, denoised: torch.Tensor) -> None:
        """Note what the evaluation returned to the sampler."""
        if self._adapts:
            self._watch.answered(denoised)

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
        if compiled is not None:
            self._traced.add(id(network))
        with self._lock:
            ordinal = self._ordinals.get((key, id(network)), 0)
            self._ordinals[key, id(network)] = ordinal + 1
        key = (key, id(network), ordinal)
        try:
            result = self._attempt(key, network, network if compiled is None else compiled, run)
        except torch.cuda.OutOfMemoryError:
            if self._out_of_memory:
                raise
            result = None
        if result is None:
            # Not in the handler, whose traceback holds the tensors of the failed call.
            self._forget_all()
            result = self._attempt(key, network, network if compiled is None else compiled, run)
        if self._adapts and isinstance(result, torch.Tensor):
            with self._lock:
                self._watch.called(result)
        return result

    def _attempt(self, key: Hashable, network: torch.nn.Module, entry: torch.nn.Module, run: Callable[[], Any]) -> Any:
        assert self._record is not None
        with self._lock:
            stream = self._features.get(key)
            step = self._decide(stream, network)
        answer = self._answer(step, key, stream, network, entry.forward)
        with self._clock.measure(self._record), swapped({entry: answer}):
            return run()

    def _forget_all(self) -> None:
        with self._lock:
            self._out_of_memory = True
            self._features.clear()
        self.report.add_reason(FREED)
        self._free_memory()

    def close(self) -> RunReport:
        """End the run: forget everything and return the report."""
        self._clock.finish()
        self.report.seconds = time.perf_counter() - self._started
        self.report.bytes_kept = self._features.peak_bytes
        self.report.stages = max((len(stages) for stages in self._stages.values()), default=0)
        self.report.stochastic = self._watch.stochastic
        if self._refusal:
            self.report.add_reason(self._refusal)
        if self._watch.uses_parts:
            self.report.add_reason(SPLIT)
        if self._course.stochastic and self._course.partial_cost is None:
            self.report.add_reason(NOISE_ALONE)
        if self._features.over_budget:
            self.report.add_reason(OVER_BUDGET)
        if self._guard and self._guard.computed:
            self.report.add_reason(GUARDED.format(self._guard.computed))
        if not self.report.reasons and all(step.kind is StepKind.FULL for step in self._plan):
            self.report.add_reason(NOTHING_TO_SKIP.format(self.report.steps))
        if self.report.reuse_is_slower:
            self.report.add_reason(SLOWER)
        self._features.clear()
        self._stages.clear()
        return self.report

    @property
    def _adapts(self) -> bool:
        """Whether the sampler's kind matters to the schedule."""
        return self._schedule.adapts

    def _owner(self, index: int) -> int:
        """The step whose plan an evaluation follows."""
        before = self.report.records[-2:]
        if len(before) == 2 and before[0].sigma == before[1].sigma and index > before[1].step:
            # Heun and its kin finish a step at the noise level of the next, and then start the next there again.
            return before[1].step
        return index

    def _follow(self, index: int, sigma: float) -> None:
        """Refuse to skip for a sampler that enters a step elsewhere than at the step's own noise level."""
        last = self.report.records[-1].step if self.report.records else index
        own = self._sigmas[index] if index < len(self._sigmas) else sigma
        if self._refusal is None and index > last and abs(own - sigma) > GRID_TOLERANCE * own:
            self._refusal = OWN_LEVELS
            self._plan = self._planned()

    def _planned(self) -> Plan:
        plan = (Schedule("refused") if self._refusal else self._schedule).plan(self._course)
        self._max_age = MAX_AGE_PER_STEP * longest_gap(plan)
        return plan

    def _replan(self) -> None:
        """Plan again when the run has shown more of itself."""
        costs = [cost for cost in map(partial_cost, self._stages.values()) if cost is not None]
        course = Course(self._course.times, bool(self._watch.stochastic), max(costs, default=None))
        if course != self._course:
            self._course = course
            self._plan = self._planned()

    def _trusted(self, step: StepPlan) -> StepPlan:
        if step.kind is not StepKind.SKIP or self._guard is None or self._guard.allows_skip():
            return step
        return StepPlan(StepKind.FULL)

    def _decide(self, stream: Stream | None, network: torch.nn.Module) -> StepPlan:
        """The step's plan, or a full step where the plan cannot be followed, with the reason noted."""
        assert self._record is not None
        stages = self._stages_of(network)
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
        if self._step.kind is StepKind.PARTIAL and self._out_of_memory:
            return FREED
        if self._step.kind is StepKind.PARTIAL and not stages:
            return NO_STAGES.format(type(network).__name__)
        return None

    def _stages_of(self, network: torch.nn.Module) -> tuple[Stage, ...]:
        if id(network) not in self._stages:
            self._stages[id(network)] = find_stages(network, self._families)
            if any("_orig_mod" in stage.path for stage in self._stages[id(network)]):
                self._traced.add(id(network))
        return self._stages[id(network)]

    def _answer(
        self, step: StepPlan, key: Hashable, stream: Stream | None, network: torch.nn.Module, forward: Forward
    ) -> Forward:
        """The network's `forward` for this call."""

        def answered(*args: Any, **kwargs: Any) -> Any:
            if step.kind is StepKind.FULL or stream is None:
                return self._full(step, key, network, lambda: forward(*args, **kwargs))
            if step.kind is StepKind.SKIP:
                return self._forecast(stream)
            return self._partial(step, stream, network, lambda: forward(*args, **kwargs))

        return answered

    def _full(self, step: StepPlan, key: Hashable, network: torch.nn.Module, compute: Callable[[], Any]) -> Any:
        stream = self._features.start(key)
        stages = self._stages_of(network) if step.keeps_stages and not self._out_of_memory else ()
        with swapped(StageCall(stages, stream, self._features).remembering(), id(network) in self._traced):
            output = self._computed(compute)
        if self._guard and stream.outputs:
            self._test_forecast(stream, output)
        self._features.keep_output(stream, self._time, len(self.report.records), output)
        return output

    def _partial(self, step: StepPlan, stream: Stream, network: torch.nn.Module, compute: Callable[[], Any]) -> Any:
        with swapped(
            StageCall(self._stages_of(network), stream, self._features).reusing(), id(network) in self._traced
        ):
            output = self._computed(compute)
        return output if step.mix == 1 else combine((step.mix, 1 - step.mix), (output, self._forecast(stream)))

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
