"""What a sampling run remembers, by stream: outputs, and stages under a memory budget."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch

from .tensors import Signature, copied, dtype_of, size_in_bytes

# Flow times this near are the same: samplers of two calls come back to the sigma of the step before.
SAME_TIME = 1e-6

# A stage's path in the network, and the how-manieth of its calls it is.
StageName = tuple[str, int]


@dataclass(frozen=True)
class StageResult:
    """What is kept of a stage, and the signature of the inputs it belongs to."""

    signature: Signature
    kept: Any


@dataclass
class Stream:
    """All that is remembered of one condition: past outputs with their flow times, newest last, and stages.

    `outputs` are raw or denoised (Prediction); `dtype` is that of the network's own. `needs` are the bytes of each
    stage of the last keyframe, whether it was remembered or not.
    """

    times: deque[float]
    outputs: deque[Any]
    dtype: torch.dtype | None = None
    evaluation: int = 0
    stages: dict[StageName, StageResult] = field(default_factory=dict[StageName, StageResult])
    needs: dict[StageName, int] = field(default_factory=dict[StageName, int])


class Store:
    """The streams of one run. What is kept beside outputs stays within `budget_bytes`; outputs are always kept.

    Its lock guards all of it: the host may answer the conditions of a step from several threads.
    """

    def __init__(self, budget_bytes: float, history: int) -> None:
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

    @property
    def newest(self) -> int:
        """The newest evaluation of which an output is remembered, 0 where there is none."""
        return max((stream.evaluation for stream in self._streams.values()), default=0)

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

    def keep_output(
        self, stream: Stream, time: float, evaluation: int, output: Any, dtype: torch.dtype | None = None
    ) -> None:
        """Remember a copy of a computed output (B, C, ...), instead of an older one of the same flow time.

        Where the flow time rises above all that are known, these are of a pass before, and are forgotten.

        `dtype` is that of the network's own output, where that is not the type of `output`.
        """
        with self._lock:
            if stream.times and time > max(stream.times) + SAME_TIME:
                # Another pass; a sampler that looks ahead goes back by less.
                stream.times.clear()
                stream.outputs.clear()
            for place in [place for place, known in enumerate(stream.times) if abs(known - time) <= SAME_TIME]:
                del stream.times[place]
                del stream.outputs[place]
            stream.times.append(time)
            stream.outputs.append(copied(output))
            stream.dtype = dtype or dtype_of(output)
            stream.evaluation = evaluation
            outputs = sum(size_in_bytes(each.outputs) for each in self._streams.values())
            self.peak_bytes = max(self.peak_bytes, outputs + self._taken_bytes)

    def keep_stage(self, stream: Stream, name: StageName, result: StageResult) -> None:
        """Remember a stage, unless the budget is spent."""
        size = stream.needs[name] = size_in_bytes(result.kept)
        if not self.take(size):
            self.stages_over_budget = True
            return
        with self._lock:
            stream.stages[name] = result
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
        dropped = sum(size_in_bytes(result.kept) for result in stream.stages.values())
        self._taken_bytes -= dropped
        self._stage_bytes -= dropped
        stream.stages, stream.needs = {}, {}
