"""What a sampling run remembers, by condition stream, under a memory budget."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch

# Two-call samplers come back to the sigma of the step before.
SAME_TIME = 1e-6


# Of each input: what must be the same for a remembered result to fit.
Signature = tuple[tuple[torch.Size, torch.dtype, torch.device], ...]
# A stage's path in the network, and the how-manieth of its calls it is.
StageName = tuple[str, int]


@dataclass(frozen=True)
class StageFeature:
    """What is kept of a stage, tensors in tuples or lists, and the signature of the inputs it belongs to."""

    signature: Signature
    kept: Any


@dataclass
class Stream:
    """All that is remembered of one condition: past outputs with their flow times, newest last, and stages."""

    times: deque[float]
    # As the run's Space remembers them; `dtype` is that of the network's own.
    outputs: deque[Any]
    dtype: torch.dtype | None = None
    evaluation: int = 0
    stages: dict[StageName, StageFeature] = field(default_factory=dict)
    # Those of the last keyframe, found in the network.
    held: tuple[Any, ...] = ()
    # Bytes of each stage of the last keyframe, whether it was remembered or not.
    needs: dict[StageName, int] = field(default_factory=dict)


class Features:
    """The streams of one run. What is kept beside outputs stays within `budget_bytes`; outputs are always kept."""

    def __init__(self, budget_bytes: float, history: int) -> None:
        # The host may answer the conditions of a step from several threads.
        self._lock = threading.Lock()
        self._streams: dict[Hashable, Stream] = {}
        self._budget_bytes = budget_bytes
        self._history = history
        self._taken_bytes = 0
        self._stage_bytes = 0
        self.peak_bytes = 0
        self.over_budget = False
        self.stages_over_budget = False

    def get(self, key: Hashable) -> Stream | None:
        """The stream of `key`, or None when nothing is remembered of it yet."""
        return self._streams.get(key)

    def start(self, key: Hashable) -> Stream:
        """The stream of `key`, with its stages dropped to make room for those of a new keyframe."""
        with self._lock:
            stream = self._streams.setdefault(key, Stream(deque(maxlen=self._history), deque(maxlen=self._history)))
            self._drop_stages(stream)
            return stream

    def start_keyframe(self) -> None:
        """Drop all stages: those of conditions that are gone would keep their place until the end."""
        with self._lock:
            for stream in self._streams.values():
                self._drop_stages(stream)

    def drop_before(self, evaluation: int) -> list[Hashable]:
        """Forget the streams whose newest output is older than that of `evaluation`, and return their keys."""
        with self._lock:
            gone = [key for key, stream in self._streams.items() if stream.evaluation < evaluation]
            for key in gone:
                self._drop_stages(self._streams.pop(key))
        return gone

    def keep_output(self, stream: Stream, time: float, evaluation: int, output: Any) -> None:
        """Remember a copy of a computed output, instead of an older one of the same flow time."""
        with self._lock:
            if stream.times and abs(stream.times[-1] - time) <= SAME_TIME:
                stream.times.pop()
                stream.outputs.pop()
            stream.times.append(time)
            stream.outputs.append(_copy(output))
            stream.evaluation = evaluation
            self._measure()

    def keep_stage(self, stream: Stream, name: StageName, feature: StageFeature) -> None:
        """Remember a stage, unless the budget is spent."""
        size = stream.needs[name] = size_of(feature.kept)
        if not self.take(size):
            self.stages_over_budget = True
            return
        with self._lock:
            stream.stages[name] = feature
            self._stage_bytes += size

    def needs(self) -> dict[str, int]:
        """Bytes of each stage in all streams since the last keyframe, by path, remembered or not."""
        total: dict[str, int] = {}
        for stream in self._streams.values():
            for (path, _), size in stream.needs.items():
                total[path] = total.get(path, 0) + size
        return total

    @property
    def room(self) -> float:
        """Bytes of the budget that stages may take."""
        return self._budget_bytes - (self._taken_bytes - self._stage_bytes)

    def take(self, size: int) -> bool:
        """Whether there is room for so many bytes, which then are taken."""
        with self._lock:
            if self._taken_bytes + size > self._budget_bytes:
                self.over_budget = True
                return False
            self._taken_bytes += size
            return True

    def give(self, size: int) -> None:
        """Make room again."""
        with self._lock:
            self._taken_bytes -= size

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._streams.clear()
            self._taken_bytes = self._stage_bytes = 0

    def _drop_stages(self, stream: Stream) -> None:
        dropped = sum(size_of(feature.kept) for feature in stream.stages.values())
        self._taken_bytes -= dropped
        self._stage_bytes -= dropped
        stream.stages, stream.needs = {}, {}

    def _measure(self) -> None:
        outputs = sum(size_of(stream.outputs) for stream in self._streams.values())
        self.peak_bytes = max(self.peak_bytes, outputs + self._taken_bytes)


def size_of(value: Any) -> int:
    """Bytes of the tensors in a value: a tensor, or tuples and lists with tensors among other things."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    return sum(size_of(part) for part in value) if isinstance(value, (tuple, list, deque)) else 0


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    return type(value)(_copy(part) for part in value)
