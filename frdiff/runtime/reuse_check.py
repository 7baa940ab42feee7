"""Whether the plan of an evaluation can be followed: one decision for all of its network calls."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch

from ..blocks.network_stages import NetworkStages
from ..engine import NetworkCall
from ..planning.plan import StepKind
from ..reasons import FREED, MOVED, NO_FEATURES, NO_LATENT, NO_STAGES, STALE, UNSEEN, Reason
from ..sampler.noise_levels import SIGMA_TOLERANCE
from ..store import Stream
from .budget import MemoryBudget
from .follower import Evaluation

# Windows that the host moves by turns come back here and there: so many evaluations in a row show that they stay.
STEADY = 3


class ReuseCheck:
    """Says why calls cannot be answered as planned.

    Guidance enlarges the difference between conditions, so that the forecast of one must not meet the truth of
    another: the first call of an evaluation decides for all that were made in the evaluation before. So must not the
    forecasts of some windows meet the truth of others: once what the network is shown has moved to where nothing new
    enough was remembered, all is computed until it has stayed for some evaluations. Its caller holds the session's
    lock.
    """

    def __init__(self, stages: NetworkStages, budget: MemoryBudget) -> None:
        self._stages = stages
        self._budget = budget
        self._before: Mapping[Hashable, torch.nn.Module] = {}
        self._callers: dict[Hashable, torch.nn.Module] = {}
        self._common: Reason | None = None
        self._moved, self._steady = False, STEADY

    def begin(self, evaluation: Evaluation) -> None:
        """Start an evaluation."""
        self._evaluation = evaluation
        self._before, self._callers = self._callers, {}
        self._steady = 0 if self._moved else self._steady + 1
        self._moved = False
        self._newest = self._budget.store.newest

    def obstacle(self, key: Hashable, call: NetworkCall) -> Reason | None:
        """Why a call of the stream `key` has to be computed in full, None where it can be answered as planned."""
        first = not self._callers
        self._callers[key] = call.network
        own = self._of(key, call.network) or self._of_latent(key, call)
        if own is UNSEEN and call.elsewhere:
            own = MOVED
        # In the first evaluation all is new.
        self._moved |= own is MOVED and self._evaluation.number > 1
        if self._evaluation.plan.kind is StepKind.FULL:
            return None
        if first:
            obstacles = map(self._of, self._before, self._before.values())
            self._common = own or (MOVED if self._steady < STEADY else next(filter(None, obstacles), None))
        # A condition that is new and comes late cannot take back what the others were answered.
        return self._common or own

    def _of(self, key: Hashable, network: torch.nn.Module) -> Reason | None:
        evaluation, stream = self._evaluation, self._budget.store.get(key)
        if stream is None or not stream.outputs:
            return UNSEEN
        age = evaluation.number - stream.evaluation
        rises = not evaluation.rehearsed and evaluation.level.time > stream.times[-1] * (1 + SIGMA_TOLERANCE)
        if rises or age > evaluation.max_age:
            return STALE
        if stream.evaluation < self._newest and age > evaluation.usual_age:
            # The plan counts on it that the newest keyframe has refreshed all.
            return MOVED
        return self._of_stages(stream, network) if evaluation.plan.kind is StepKind.PARTIAL else None

    def _of_stages(self, stream: Stream, network: torch.nn.Module) -> Reason | None:
        if self._budget.gave_up:
            return FREED
        if not self._stages.of(network):
            return NO_STAGES.of(network=type(network).__name__)
        return None if stream.stages else self._budget.shortage or NO_FEATURES

    def _of_latent(self, key: Hashable, call: NetworkCall) -> Reason | None:
        stream = self._budget.store.get(key)
        if not self._evaluation.is_skipped or stream is None:
            return None
        return None if self._evaluation.prediction.fits(stream.outputs[-1], call.x) else NO_LATENT
