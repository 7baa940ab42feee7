"""One sampling run: a decision for each evaluation, an answer to each network call, and the report of both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from typing import Any

from ..blocks.network_stages import NetworkStages
from ..engine import NetworkCall, RunFacts
from ..planning.plan import Plan, StepKind, StepPlan
from ..planning.prior import NEAR
from ..planning.schedule import Schedule
from ..reasons import ELSEWHERE, LESS_DONE, OWN_STATE, SLOWER, TAKEN_APART, UNSTEADY, Reason
from ..reporting.record import StepRecord
from ..reporting.report import RunReport
from ..reporting.step_map import Cell, cells_around
from .answers import Answers, PlannedCall
from .budget import HostMemory, MemoryBudget
from .clock import Clock
from .follower import Evaluation, PlanFollower
from .own_state import OwnState
from .reuse_check import ReuseCheck

_NO_MEMORY_OF_ITS_OWN = HostMemory()


class Session:
    """The engine of one run (Engine), born when sampling starts and dropped when it ends.

    `host` frees memory. `observe` is called with the session at the start of each evaluation.

    The host may answer the conditions of an evaluation from several threads, each with its own network. `_lock` guards
    what they share here: the report's records, the guard, the reuse check and the follower's watch. Store, budget and
    clock have locks of their own. Evaluations come one by one.
    """

    def __init__(
        self,
        schedule: Schedule,
        facts: RunFacts,
        host: HostMemory = _NO_MEMORY_OF_ITS_OWN,
        observe: Callable[[Session], None] = lambda session: None,
    ) -> None:
        options = schedule.options
        self._schedule, self._facts = schedule, facts
        self._observe = observe
        self._lock = threading.Lock()
        self._clock = Clock()
        self._stages = NetworkStages(options.families, options.branches, options.inner)
        self._budget = MemoryBudget(options, self._stages, host)
        self._follower = PlanFollower(schedule, facts)
        self._own_state = OwnState()
        self._reuse_check = ReuseCheck(self._stages, self._budget)
        self._answers = Answers(options, facts, self._follower, self._budget, self._stages, self._count)
        self._evaluation: Evaluation | None = None
        self._started = time.perf_counter() - facts.seconds_before
        self.report = RunReport(schedule.name, self._follower.steps, forecaster=options.forecaster.name)

    @property
    def plan(self) -> Plan:
        """The plan as it stands now."""
        return self._follower.plan

    @property
    def sigmas(self) -> list[float]:
        """The run's noise levels, one more than there are steps."""
        return self._follower.sigmas

    @property
    def around(self) -> dict[str, list[Cell]]:
        """The planned cells of the parts `before` and `after` this one; empty for a run that is sampled in one."""
        return cells_around(self._schedule, self._facts)

    @property
    def whole(self) -> str:
        """The name that this run has in common with the other parts."""
        return self._facts.whole

    @property
    def looks_at_inputs(self) -> bool:
        """Whether calls may be answered from what was remembered of their streams."""
        return self._follower.plan.reuses

    def reserve(self, output_bytes: int, stage_bytes: int) -> int:
        """Note and return the bytes that this run expects to remember, at most what its budget and plan allow."""
        wanted = self._budget.wanted(output_bytes, stage_bytes if self._follower.plan.keeps_stages else 0)
        self.report.bytes_reserved = wanted if self._follower.plan.reuses else 0
        return self.report.bytes_reserved

    def begin_evaluation(self, sigma: float, x: object = None) -> None:
        """Start an evaluation with input `x` (B, C, ...): one decision for all its network calls."""
        self._note_forecast_error()
        evaluation = self._evaluation = self._follower.begin(sigma, x)
        kinds = evaluation.plan.kind.value, evaluation.planned.kind.value
        self.report.records.append(StepRecord(evaluation.step, sigma, *kinds, evaluation.plan.mix))
        if self._follower.plan.reuses:
            self._answers.prepare(evaluation)
            self._reuse_check.begin(evaluation)
        self._observe(self)

    def end_evaluation(self, denoised: object) -> None:
        """Note what the evaluation returned to the sampler, (B, C, ...) or whatever it is."""
        self._follower.noted(denoised)
        self._answers.ended(denoised)
        self._note_forecast_error()

    def call(self, call: NetworkCall) -> Any:
        """Answer one network call of the evaluation that was begun."""
        if self._evaluation is None:
            raise RuntimeError("begin_evaluation comes before the first call.")
        evaluation, key = self._evaluation, (call.stream, id(call.network))
        if self._own_state.found:
            # A second attempt would begin where a failed one had ended.
            result = self._attempt(evaluation, key, call)
        else:
            result = self._budget.attempt(lambda: self._attempt(evaluation, key, call), self._answers.forget)
        with self._lock:
            if self._own_state.found:
                self._follower.refuse(OWN_STATE)
            self.report.records[-1].asked += 1
            self._follower.noted_call(result)
            self._answers.noted(key, result)
        return result

    def close(self, finished: bool = True) -> RunReport:
        """End the run: forget everything and return the report."""
        self._clock.finish()
        self._note_forecast_error()
        report = self.report
        report.seconds = time.perf_counter() - self._started
        report.finished = finished
        report.bytes_kept = self._budget.store.peak_bytes
        report.stages = len(self._stages.most)
        report.stochastic = self._follower.stochastic
        for reason in (*self._stages.reasons, *self._follower.reasons(), *self._budget.reasons()):
            report.add_reason(reason)
        if finished and not report.reasons and (less := _less_done(self.plan, report)):
            report.add_reason(less)
        if report.is_unsteady:
            counts = report.counts
            report.add_reason(
                UNSTEADY.of(limit=report.speedup_limit, full=counts["full"], total=sum(counts.values()))
            )
        if finished and report.answered_elsewhere:
            report.add_reason(ELSEWHERE.of(count=report.answered_elsewhere))
        if report.reuse_is_slower:
            report.add_reason(SLOWER)
        if self._answers.compiled_whole and self._follower.plan.keeps_stages:
            report.add_reason(TAKEN_APART)
        self._answers.forget()
        self._stages.clear()
        return report

    def _attempt(self, evaluation: Evaluation, key: Hashable, call: NetworkCall) -> Any:
        record = self.report.records[-1]
        if not self._follower.plan.reuses:
            with self._clock.measure(record, call.device):
                return self._answers.computed_alone(key, call)
        with self._lock:
            planned = PlannedCall(evaluation, self._decide(evaluation, key, call), key, call)
        answer = self._answers.forward_of(planned)
        watching = nullcontext() if planned.plan.kind is StepKind.SKIP else self._own_state.watching(call)
        with watching, self._clock.measure(record, call.device):
            return call.answered_by(answer)

    def _decide(self, evaluation: Evaluation, key: Hashable, call: NetworkCall) -> StepPlan:
        """The evaluation's plan, or a full step where it cannot be followed, with the reason noted."""
        reason = self._reuse_check.obstacle(key, call)
        if reason is None:
            return evaluation.plan
        self.report.add_reason(reason)
        self._follower.computed_instead()
        record = self.report.records[-1]
        record.kind, record.mix = StepKind.FULL.value, 1.0
        return StepPlan(StepKind.FULL, keeps_stages=self._follower.plan.keeps_stages)

    def _count(self) -> None:
        with self._lock:
            self.report.records[-1].calls += 1

    def _note_forecast_error(self) -> None:
        """Note what a full evaluation after a skipped one says of forecasts, unless it is noted."""
        errors = self._answers.forecast_errors()
        if errors:
            self.report.records[-1].note_errors(errors)
            self._follower.tested(max(errors.values()))


def _less_done(plan: Plan, report: RunReport) -> Reason | None:
    """That more was computed than was planned, None where it was not."""
    reached = report.speedup_limit
    planned = plan.speedup(0.0) if plan.reuses else 1.0
    if reached is None or reached * (1 + NEAR) >= planned:
        return None
    counts = report.counts
    return LESS_DONE.of(full=counts["full"], total=sum(counts.values()), reached=reached, planned=planned)
