"""What the inputs of a node were, as a short text: the same for inputs of the same content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

# Objects of other packs hold objects that hold objects; what decides is near.
DEEPEST = 6


def fingerprint(value: Any) -> str:
    """Equal for inputs of the same content: tensors by their values, objects and functions by what they hold."""
    digest = hashlib.sha256()
    for part in _parts(value, DEEPEST):
        digest.update(part + b"\0")
    return digest.hexdigest()[:32]


def _parts(value: Any, depth: int) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield f"{tuple(value.shape)} {value.dtype}".encode()
        if not value.is_nested:
            yield value.detach().reshape(-1).contiguous().view(torch.uint8).cpu().numpy().tobytes()
    elif value is None or isinstance(value, bool | int | float | str | bytes | torch.dtype):
        yield repr(value).encode()
    elif depth and isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            yield repr(key if isinstance(key, str | int) else type(key)).encode()
            yield from _parts(value[key], depth - 1)
    elif depth and isinstance(value, list | tuple):
        yield str(len(value)).encode()
        for each in value:
            yield from _parts(each, depth - 1)
    else:
        yield from _of_object(value, depth)


def _of_object(value: Any, depth: int) -> Iterator[bytes]:
    """A function by its name and what it closes over, another object by its class and its own values."""
    named = value if hasattr(value, "__qualname__") else type(value)
    yield f"{named.__module__}.{named.__qualname__}".encode()
    cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    # A network is known by its weights elsewhere, and is large.
    held = [] if isinstance(value, type | torch.nn.Module) else [*cells, getattr(value, "__dict__", {})]
    for each in held if depth else ():
        yield from _parts(each, depth - 1)
