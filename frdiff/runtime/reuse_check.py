"""Whether the plan of an evaluation can be followed: one decision for all of its network calls."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..blocks.discovery import Stages
from ..forecasting.prediction import Space
from ..planning.schedule import StepKind
from ..store import Stream
from .budget import FREED, Memory
from .follower import SIGMA_TOLERANCE

NO_STAGES = "Partial steps were computed in full: no stages are known in a network of class {}."
STALE = "Some steps were computed in full: the sampler went back in sigma, or what was remembered was too old."
UNSEEN = "Some calls were computed in full: nothing was remembered yet for their condition."
NO_LATENT = (
    "Skipped steps were computed in full: the sampler adds noise, and the network's output is no latent like its input."
)
NO_FEATURES = "Some partial steps were computed in full: no stage had been remembered before them."


@dataclass(frozen=True)
class Call:
    """A network call: the stream that it belongs to, the module whose `forward` is answered for, and its latent."""

    key: Hashable
    network: torch.nn.Module
    entry: torch.nn.Module
    x: Any

    @property
    def device(self) -> torch.device:
        """Where it is computed; weights may be kept elsewhere."""
        latent = self.x[0] if isinstance(self.x, (list, tuple)) else self.x
        return torch.device("cpu") if latent is None else latent.device


@dataclass(frozen=True)
class Moment:
    """An evaluation: what is planned, its flow time, its number, and how old a remembered output may be."""

    kind: StepKind
    time: float
    evaluation: int
    max_age: int
    space: Space


class Following:
    """Says why calls cannot be answered as planned.

    Guidance enlarges the difference between conditions, so that the forecast of one must not meet the truth of
    another: the first call of an evaluation decides for all that were made in the evaluation before.
    """

    def __init__(self, stages: Stages, memory: Memory) -> None:
        self._stages = stages
        self._memory = memory
        self._before: Mapping[Hashable, torch.nn.Module] = {}
        self._callers: dict[Hashable, torch.nn.Module] = {}
        self._common: str | None = None

    def begin(self, moment: Moment) -> None:
        """Start an evaluation."""
        self._moment = moment
        self._before, self._callers = self._callers, {}

    def obstacle(self, call: Call) -> str | None:
        """Why a call has to be computed in full, None where it can be answered as planned."""
        first = not self._callers
        self._callers[call.key] = call.network
        if self._moment.kind is StepKind.FULL:
            return None
        own = self._of(call.key, call.network) or self._of_latent(call)
        if first:
            self._common = own or next(filter(None, map(self._of, self._before, self._before.values())), None)
        # A condition that is new and comes late cannot take back what the others were answered.
        return self._common or own

    def _of(self, key: Hashable, network: torch.nn.Module) -> str | None:
        moment, stream = self._moment, self._memory.features.get(key)
        if stream is None or not stream.outputs:
            return UNSEEN
        age = moment.evaluation - stream.evaluation
        if moment.time > stream.times[-1] * (1 + SIGMA_TOLERANCE) or age > moment.max_age:
            return STALE
        return self._of_stages(stream, network) if moment.kind is StepKind.PARTIAL else None

    def _of_stages(self, stream: Stream, network: torch.nn.Module) -> str | None:
        if self._memory.gave_up:
            return FREED
        if not self._stages.of(network):
            return NO_STAGES.format(type(network).__name__)
        return None if stream.stages else self._memory.shortage or NO_FEATURES

    def _of_latent(self, call: Call) -> str | None:
        stream = self._memory.features.get(call.key)
        if self._moment.kind is not StepKind.SKIP or stream is None:
            return None
        return None if self._moment.space.fits(stream.outputs[-1], call.x) else NO_LATENT
