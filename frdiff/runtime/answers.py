"""How one network call is answered: in full, in part, or by a forecast from what is remembered of its stream."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ..blocks.invariants import Invariants
from ..blocks.network_stages import NetworkStages
from ..blocks.stages import Stage, StageCall, fetching_on_demand
from ..engine import NetworkCall, RunFacts
from ..forecasting.adaptation import Gain
from ..forecasting.prediction import level_of_remembered
from ..forecasting.repair import Repair, repair_of
from ..forecasting.rules import REUSE, Weights
from ..forward_patch import Forward, Place, swapped
from ..planning.plan import StepKind, StepPlan
from ..planning.schedule import RunOptions
from ..reasons import NO_FORECAST
from ..store import Stream
from ..tensors import can_be_forecast, combine, dtype_of, names_of_parts, relative_errors, same_shapes
from ..typed import numbers_in
from .budget import MemoryBudget
from .follower import Evaluation, PlanFollower


@dataclass(frozen=True)
class PlannedCall:
    """A network call, its evaluation, and what is done: the evaluation's plan, or a full step where that cannot be.

    `key` is that of the stream in the store.
    """

    evaluation: Evaluation
    plan: StepPlan
    key: Hashable
    call: NetworkCall


class Answers:
    """Makes the `forward` that answers for the network in a call.

    `computed` is called whenever the network computes. A stream and its repair belong to one call of an evaluation, so
    that threads need no lock here.
    """

    def __init__(
        self, options: RunOptions, facts: RunFacts, follower: PlanFollower, budget: MemoryBudget, stages: NetworkStages,
        computed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._options = options
        self._follower = follower
        self._budget = budget
        self._stages = stages
        self._count = computed
        self._invariants = Invariants(budget.store)
        self._x0: bool = bool(follower.stochastic)
        self._repair = self._repair_of(facts)
        self._gain = self._new_gain() if options.measures else None
        # (P,) for each call, of the P parts of its output, and the names of these where there are several.
        self._errors: list[torch.Tensor] = []
        self._names: tuple[str, ...] = ()
        self._held: dict[Hashable, tuple[Stage, ...]] = {}
        self._compiled: set[int] = set()

    @property
    def compiled_whole(self) -> bool:
        """Whether torch compiled a network as a whole."""
        return bool(self._compiled)

    def prepare(self, evaluation: Evaluation) -> None:
        """Get ready to remember what an evaluation computes, or to answer for it."""
        self._budget.step_down()
        # Conditions that came and went, as those of moving context windows do, would be kept until the end.
        gone = self._budget.store.drop_before(evaluation.number - 1 - evaluation.max_age)
        if self._repair:
            self._repair.drop(gone)
        for key in gone:
            self._held.pop(key, None)
        if evaluation.plan.keeps_stages:
            self._budget.store.start_keyframe()
        if evaluation.prediction.x0 != self._x0:
            # What was remembered of raw outputs is of no use when the run has shown that noise is added.
            self.forget()
            self._repair, self._x0 = None, evaluation.prediction.x0
            self._gain = self._new_gain() if self._gain else None
        self._errors.clear()
        if self._gain:
            self._gain.begin()
        if self._repair and evaluation.step < len(self._levels):
            # What the model is told may be shifted.
            self._levels[evaluation.step] = level_of_remembered(evaluation.level, self._x0)

    def _new_gain(self) -> Gain:
        return Gain(self._x0, self._follower.multistep, self._follower.cfg_pp)

    def noted(self, key: Hashable, result: Any) -> None:
        """Note what a call gave the guider."""
        if self._gain:
            self._gain.answered(key, result)

    def ended(self, denoised: Any) -> None:
        """Note what the guider made of the evaluation's calls, of the latent's shape."""
        if self._gain:
            self._gain.ended(denoised)

    def forecast_errors(self) -> dict[str, float]:
        """How far off the answer to a computed evaluation would have been, by part of the latent; waits for the device.

        That of the guided output where it was seen, else that of the worst call; empty where nothing was tested. The
        only part has no name.
        """
        if not self._errors:
            return {}
        guided = self._gain.errors if self._gain else None
        found = torch.stack(self._errors).amax(dim=0) if guided is None else guided.max()[None]
        self._errors.clear()
        return dict(zip(self._names if guided is None else ("",), numbers_in(found), strict=True))

    def forget(self) -> None:
        """Forget everything."""
        self._budget.store.clear()
        self._invariants.clear()
        self._held.clear()
        if self._repair:
            self._repair.clear()

    def forward_of(self, planned: PlannedCall) -> Forward:
        """The network's `forward` for this call."""
        call, stream = planned.call, self._budget.store.get(planned.key)
        forward = call.entry.forward
        if call.compiled is not None:
            self._compiled.add(id(call.network))

        def answered(*args: Any, **kwargs: Any) -> Any:
            if planned.plan.kind is StepKind.SKIP and stream is not None:
                return self._skipped(planned, stream)
            with swapped(self._invariants.forwards(planned.key, call.network)):
                if planned.plan.kind is StepKind.PARTIAL and stream is not None:
                    return self._partial(planned, stream, lambda: forward(*args, **fetching_on_demand(kwargs)))
                return self._full(planned, lambda: forward(*args, **kwargs))

        return answered

    def computed_alone(self, key: Hashable, call: NetworkCall) -> Any:
        """Compute a call of a run in which no output will be used again."""
        with swapped(self._invariants.forwards(key, call.network)):
            return self._computed(call.run)

    def _skipped(self, planned: PlannedCall, stream: Stream) -> Any:
        evaluation = planned.evaluation
        forecast, repair = self._measured_forecast(planned, stream), self._repairing(evaluation)
        if repair:
            addition = repair.of_forecast(planned.key, evaluation.step, evaluation.level.time, forecast)
            forecast = forecast if addition is None else combine((1.0, 1.0), (forecast, addition))
        return evaluation.prediction.raw(forecast, planned.call.x, stream.dtype)

    def _full(self, planned: PlannedCall, compute: Callable[[], Any]) -> Any:
        evaluation, network, store = planned.evaluation, planned.call.network, self._budget.store
        stream = store.start(planned.key)
        held = self._held[planned.key] = self._budget.stages_of(network) if planned.plan.keeps_stages else ()
        learning = self._stages.watching(network) if self._follower.plan.keeps_stages else nullcontext()
        with learning, self._swapped(planned.call, StageCall(held, stream, store).remembering()):
            output = self._computed(compute)
        if not can_be_forecast(output) or stream.outputs and not same_shapes(stream.outputs[-1], output):
            self._follower.refuse(NO_FORECAST)
            return output
        remembered, rule = evaluation.prediction.remembered(output, planned.call.x), self._weights(evaluation)
        if stream.outputs and evaluation.tests:
            answer = self._measured_forecast(planned, stream)
            nothing = evaluation.prediction.nothing(planned.call.x)
            self._errors.append(relative_errors(answer, remembered, nothing).amax(dim=1))
            self._names = names_of_parts(planned.call.x, remembered)
        if self._gain and len(stream.outputs) > 1:
            weights = rule(evaluation.level.time, list(stream.times))
            self._gain.tried(planned.key, weights, list(stream.outputs), remembered, planned.call.x)
        store.keep_output(stream, evaluation.level.time, evaluation.number, remembered, dtype_of(output))
        repair = self._repairing(evaluation)
        correction = repair.of_computed(planned.key, evaluation.step, stream, rule) if repair else None
        return output if correction is None else evaluation.prediction.corrected(output, correction)

    def _partial(self, planned: PlannedCall, stream: Stream, compute: Callable[[], Any]) -> Any:
        """A partial step, mixed with the forecast of the same shape (docs/math.md, equation 5.2)."""
        evaluation, mix = planned.evaluation, planned.plan.mix
        stages = StageCall(self._held.get(planned.key, ()), stream, self._budget.store)
        with self._swapped(planned.call, stages.reusing()):
            output = self._computed(compute)
        if mix == 1:
            return output
        forecast = self._measured_forecast(planned, stream)
        forecast = evaluation.prediction.raw(forecast, planned.call.x, stream.dtype)
        return combine((mix, 1 - mix), (output, forecast))

    def _computed(self, compute: Callable[[], Any]) -> Any:
        self._count()
        return compute()

    def _forecast(self, evaluation: Evaluation, stream: Stream) -> Any:
        return combine(self._weights(evaluation)(evaluation.level.time, list(stream.times)), list(stream.outputs))

    def _measured_forecast(self, planned: PlannedCall, stream: Stream) -> Any:
        """The forecast, as far as the run has shown that it is better than repetition."""
        forecast = self._forecast(planned.evaluation, stream)
        return self._gain.applied(forecast, stream.outputs[-1], planned.call.x) if self._gain else forecast

    def _weights(self, evaluation: Evaluation) -> Weights:
        if not evaluation.prediction.x0:
            return self._options.forecaster.weights_for(self._follower.multistep)
        # Several evaluations of a step are too close together for a line through them.
        recursion = self._follower.recursion
        known = recursion is not None and not recursion.memoryless
        return (self._options.stochastic_forecaster if known else REUSE).weights

    def _repairing(self, evaluation: Evaluation) -> Repair | None:
        """The repair, as long as the sampler does what it rehearsed: one evaluation for each step."""
        as_rehearsed = self._follower.recursion is not None and evaluation.number == evaluation.step + 1
        return self._repair if as_rehearsed else None

    def _repair_of(self, facts: RunFacts) -> Repair | None:
        # A masked run changes the latent between its steps.
        recursion = self._follower.recursion if facts.region is None else None
        sigmas = self._follower.sigmas[:-1] if recursion else []
        self._levels = [level_of_remembered(facts.level_of(sigma), self._x0) for sigma in sigmas]
        return repair_of(self._options.repair, recursion, self._levels)

    def _swapped(self, call: NetworkCall, forwards: dict[Place, Forward]) -> AbstractContextManager[None]:
        if not forwards:
            return nullcontext()
        of_network = self._stages.of(call.network)
        compiled = id(call.network) in self._compiled or any("_orig_mod" in stage.path for stage in of_network)
        return swapped(forwards, compiled)
