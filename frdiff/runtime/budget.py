"""The memory of one run: asked for before it, kept within a budget, and given up when there is none left."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from ..blocks.network_stages import NetworkStages
from ..blocks.stages import Stage
from ..blocks.strategies import ChildResult
from ..planning.schedule import RunOptions
from ..reasons import COARSER, FREED, OVER_BUDGET, SHORT, Reason
from ..store import Store


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch says so."""
    return isinstance(error, torch.cuda.OutOfMemoryError)


@dataclass(frozen=True)
class HostMemory:
    """The host's ways: `free` gives unused memory back to the device, `is_exhausted` tells errors for lack of it."""

    free: Callable[[], None] = lambda: None
    is_exhausted: Callable[[Exception], bool] = is_out_of_memory


class MemoryBudget:
    """What a run may remember: all stages, then fewer of them where the budget is short, then outputs alone.

    Its lock guards the moment at which a run gives up; all else is between evaluations.
    """

    def __init__(self, options: RunOptions, stages: NetworkStages, host: HostMemory) -> None:
        self.store = Store(options.budget_mb * 1e6, options.history)
        self.gave_up = False
        self.shortage: Reason | None = None
        self._budget_mb = options.budget_mb
        self._history = options.history
        self._stages = stages
        self._host = host
        self._lock = threading.Lock()
        self._kept: frozenset[str] | None = None
        self._need = 0

    def wanted(self, output_bytes: int, stage_bytes: int) -> int:
        """Bytes of the outputs that forecasts are made from, and of the stages as far as the budget goes."""
        return self._history * output_bytes + min(stage_bytes, int(self._budget_mb * 1e6))

    def stages_of(self, network: torch.nn.Module) -> tuple[Stage, ...]:
        """The stages of a network that are to be remembered."""
        if self.gave_up:
            return ()
        return tuple(s for s in self._stages.of(network) if self._kept is None or s.path in self._kept)

    def step_down(self) -> None:
        """Between evaluations: remember less from now on, when the last keyframe did not fit."""
        if not self.store.stages_over_budget:
            return
        self.store.stages_over_budget = False
        needs = self.store.needs()
        if self._stages.networks > 1:
            # Several devices at once: which stages came first and are there is chance.
            self.store.start_keyframe()
        if self._stages.coarsen():
            self.shortage = COARSER.of(budget=self._budget_mb)
            return
        stages = self._stages.most
        self._kept = fitting(stages, needs, self.store.room)
        self._need = max(self._need, sum(needs.values()))
        self.shortage = OVER_BUDGET.of(
            budget=self._budget_mb, kept=len(self._kept), all=len(stages), need=self._need / 1e6
        )

    def attempt(self, make: Callable[[], object], forget: Callable[[], None]) -> object:
        """Make an attempt, and when memory ran out another after `forget()`, once in a run."""
        gave_up = self.gave_up
        try:
            return make()
        except Exception as error:
            if gave_up or not self._host.is_exhausted(error):
                raise
        # Not in the handler, whose traceback holds the tensors of the failed call.
        with self._lock:
            self.gave_up = True
            forget()
        self._host.free()
        return make()

    def reasons(self) -> Iterable[Reason]:
        """What was not remembered."""
        if self.shortage or self.store.over_budget:
            yield self.shortage or SHORT.of(budget=self._budget_mb)
        if self.gave_up:
            yield FREED


def fitting(stages: Iterable[Stage], needs: Mapping[str, int], room: float) -> frozenset[str]:
    """The paths of the stages that save the most work for the bytes that they need and fit together into `room`."""
    chosen = set()
    for stage in sorted(stages, key=lambda stage: -work(stage, 1)):
        need = needs.get(stage.path, 0)
        if 0 < need <= room:
            room -= need
            chosen.add(stage.path)
    return frozenset(chosen)


def work(stage: Stage, size: int) -> float:
    """What reusing a stage saves, in no unit, when it is remembered in `size` bytes: positions times parameters."""
    worker = stage.strategy.child if isinstance(stage.strategy, ChildResult) else stage.module
    weights = [parameter for parameter in worker.parameters() if parameter.ndim > 1]
    # Bytes are positions times width, and the width is the number that most weights share.
    widths = Counter(size for weight in weights for size in weight.shape[:2])
    return size * sum(weight.numel() for weight in weights) / widths.most_common(1)[0][0] if widths else float(size)
