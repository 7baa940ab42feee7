"""What full and partial steps and single stages take on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..blocks.stages import Stage
from ..forward_patch import Forward, Place
from ..runtime.clock import wait_for
from ..tensors import device_of

# The device waits for each stage that is measured, so only some steps are.
STAGES_EVERY = 4


def measures_stages(step: int) -> bool:
    """Whether the stages are measured at a step."""
    return step % STAGES_EVERY == STAGES_EVERY - 1


def timed(compute: Callable[[], Any], given: Any) -> tuple[Any, float]:
    """The result of a computation, and the milliseconds until the device of what it was `given` had it."""
    device = device_of(given)
    wait_for(device)
    started = time.perf_counter()
    result = compute()
    wait_for(device)
    return result, (time.perf_counter() - started) * 1000


def timing(stages: Iterable[Stage], note: Callable[[str, float], None]) -> dict[Place, Forward]:
    """The forwards that compute a stage and note its path and milliseconds."""
    return {stage.place: partial(_measured, stage, stage.computing, note) for stage in stages}


def _measured(stage: Stage, forward: Forward, note: Callable[[str, float], None], *args: Any, **kwargs: Any) -> Any:
    result, passed = timed(lambda: forward(*args, **kwargs), (*args, *kwargs.values()))
    note(stage.path, passed)
    return result
