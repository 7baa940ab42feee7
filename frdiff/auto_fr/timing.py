"""What full and partial steps and single stages take on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from ..stages import Stage
from ..swapping import Forward

# The device waits for each stage that is measured, so only some steps are.
STAGES_EVERY = 4


def measures_stages(step: int) -> bool:
    """Whether the stages are measured at a step."""
    return step % STAGES_EVERY == STAGES_EVERY - 1


def timed(compute: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a computation and the milliseconds until the device had it."""
    _wait()
    started = time.perf_counter()
    result = compute()
    _wait()
    return result, (time.perf_counter() - started) * 1000


def timing(stages: Iterable[Stage], note: Callable[[str, float], None]) -> dict[torch.nn.Module, Forward]:
    """The forwards that compute a stage and note its path and milliseconds."""
    return {stage.module: partial(_measured, stage, stage.module.forward, note) for stage in stages}


def _measured(stage: Stage, forward: Forward, note: Callable[[str, float], None], *args: Any, **kwargs: Any) -> Any:
    result, passed = timed(lambda: forward(*args, **kwargs))
    note(stage.path, passed)
    return result


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
