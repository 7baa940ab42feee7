"""The memory of one run: asked for before it, kept within a budget, and given up when there is none left."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import torch

from ..blocks.discovery import Stages
from ..blocks.stages import Stage
from ..blocks.strategies import Inner
from ..planning.schedule import Schedule
from ..store import Features

COARSER = (
    "The cache budget of {budget:g} MB was too small for the branches of blocks: whole blocks are remembered instead."
)
OVER_BUDGET = (
    "The cache budget of {budget:g} MB holds {kept} of {all} stages, which need {need:.1f} MB; "
    "the rest was computed at every step."
)
SHORT = "The cache budget of {budget:g} MB was too small for everything: what did not fit was computed at every step."
FREED = "Memory ran out: what was remembered was freed, and partial steps were computed in full from there on."


class Memory:
    """What a run may remember: all stages, then fewer of them where the budget is short, then outputs alone.

    `free` gives unused memory back to the device; `is_exhausted` tells the errors that say that there is none left.
    """

    def __init__(
        self, schedule: Schedule, stages: Stages, free: Callable[[], None], is_exhausted: Callable[[Exception], bool]
    ) -> None:
        rules = (schedule.forecaster, schedule.noisy_forecaster) if schedule.adapts else (schedule.forecaster,)
        self._history = max(rule.history for rule in rules)
        self.features = Features(schedule.budget_mb * 1e6, self._history)
        self.gave_up = False
        self._budget_mb = schedule.budget_mb
        self._stages = stages
        self._free = free
        self._is_exhausted = is_exhausted
        # The host may answer the conditions of a step from several threads.
        self._lock = threading.Lock()
        self._kept: frozenset[str] | None = None
        self._need = 0
        self.shortage: str | None = None

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
        if not self.features.stages_over_budget:
            return
        self.features.stages_over_budget = False
        needs = self.features.needs()
        if len(self._stages.found()) > 1:
            # Several devices at once: which stages came first and are there is chance.
            self.features.start_keyframe()
        if self._stages.coarsen():
            self.shortage = COARSER.format(budget=self._budget_mb)
            return
        stages = max(self._stages.found(), key=len, default=())
        self._kept = fitting(stages, needs, self.features.room)
        self._need = max(self._need, sum(needs.values()))
        self.shortage = OVER_BUDGET.format(
            budget=self._budget_mb, kept=len(self._kept), all=len(stages), need=self._need / 1e6
        )

    def attempt(self, make: Callable[[], object], forget: Callable[[], None]) -> object:
        """Make an attempt, and when memory ran out another after `forget()`, once in a run."""
        gave_up = self.gave_up
        try:
            return make()
        except Exception as error:
            if gave_up or not self._is_exhausted(error):
                raise
        # Not in the handler, whose traceback holds the tensors of the failed call.
        with self._lock:
            self.gave_up = True
            forget()
        self._free()
        return make()

    def reasons(self) -> Iterable[str]:
        """Sentences about what was not remembered."""
        if self.shortage or self.features.over_budget:
            yield self.shortage or SHORT.format(budget=self._budget_mb)
        if self.gave_up:
            yield FREED


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch says so."""
    return isinstance(error, torch.cuda.OutOfMemoryError)


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
    worker = stage.form.child if isinstance(stage.form, Inner) else stage.module
    weights = [parameter for parameter in worker.parameters() if parameter.ndim > 1]
    # Bytes are positions times width, and the width is the number that most weights share.
    widths = Counter(size for weight in weights for size in weight.shape[:2])
    return size * sum(weight.numel() for weight in weights) / widths.most_common(1)[0][0] if widths else float(size)
