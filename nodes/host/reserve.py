"""Ask the host to keep memory free for what a run remembers, before it loads the networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...frdiff.engine import Engine

# The host counts this much for one pixel of a latent, byte of its type and unit of a model's own factor, where
# attention takes no memory. All stages of a network take 0.5 times that for SD 1.5 and SDXL, 1.5 for Flux and 1.6
# and 2.1 for the two sizes of Wan 2.1 (counted on networks of full size without weights).
BYTES_PER_PIXEL = 0.01 * 1024**2
# The host makes its estimate for two conditions at once.
CONDITIONS = 2


def reserving(engine: Engine[Any], shapes: Sequence[Sequence[int]]) -> Callable[..., Any]:
    """The host's wrapper around the loading of models, which asks for what `engine` expects to remember.

    `shapes` are those of the latent's parts.
    """

    def prepare_sampling(executor: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        with more_memory(model.model, engine.reserve(*expected_bytes(model.model, shapes))):
            return executor(model, *args, **kwargs)

    return prepare_sampling


def expected_bytes(model: Any, shapes: Sequence[Sequence[int]]) -> tuple[int, int]:
    """About what the outputs of one evaluation and what all stages of a network take, in bytes."""
    size = max((model.manual_cast_dtype or model.get_dtype()).itemsize, 2)
    outputs = CONDITIONS * sum(map(math.prod, shapes)) * size
    pixels = CONDITIONS * sum(shape[0] * math.prod(shape[2:]) for shape in shapes)
    return outputs, int(pixels * size * BYTES_PER_PIXEL * model.memory_usage_factor)


@contextmanager
def more_memory(model: Any, extra: int) -> Iterator[None]:
    """Let the host think, inside the block, that a model needs so many bytes more than it estimates."""
    estimate = model.memory_required

    def memory_required(*args: Any, **kwargs: Any) -> Any:
        return estimate(*args, **kwargs) + extra

    # Only while models are loaded: later the host asks again, to see whether conditions fit into one batch.
    own = {name: value for name, value in model.__dict__.items() if name == "memory_required"}
    model.__dict__["memory_required"] = memory_required
    try:
        yield
    finally:
        del model.__dict__["memory_required"]
        model.__dict__.update(own)
