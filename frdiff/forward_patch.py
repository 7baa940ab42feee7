"""The one way the engine gets into a network: a `forward` replaced for the time of one call."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from .typed import outside_graphs

Forward = Callable[..., Any]
_ABSENT = object()


@contextmanager
def swapped(forwards: Mapping[torch.nn.Module, Forward], compiled: bool = False) -> Generator[None, None, None]:
    """Replace the modules' `forward` inside the block, and leave every module exactly as it was.

    `compiled` says that torch compiled the modules: then the new forwards are kept out of the compiled graphs.
    """
    before = [(module, module.__dict__.get("forward", _ABSENT)) for module in forwards]
    try:
        for module, forward in forwards.items():
            # Our state differs at each call, and torch would compile again for each.
            module.__dict__["forward"] = outside_graphs(forward) if compiled else forward
        yield
    finally:
        for module, forward in before:
            if forward is _ABSENT:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward
