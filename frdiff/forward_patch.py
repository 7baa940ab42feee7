"""The one way the engine gets into a network: a `forward`, or a method like it, replaced for the time of one call."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from .typed import outside_graphs

Forward = Callable[..., Any]
# A module whose `forward` is replaced, or one with the name of the method.
Place = torch.nn.Module | tuple[torch.nn.Module, str]
_ABSENT = object()


@contextmanager
def swapped(forwards: Mapping[Place, Forward], compiled: bool = False) -> Generator[None, None, None]:
    """Replace the modules' `forward`, or other methods, inside the block, and leave every module exactly as it was.

    `compiled` says that torch compiled the modules: then the new forwards are kept out of the compiled graphs.
    """
    places = [place if isinstance(place, tuple) else (place, "forward") for place in forwards]
    before = [module.__dict__.get(method, _ABSENT) for module, method in places]
    try:
        for (module, method), forward in zip(places, forwards.values(), strict=True):
            # Our state differs at each call, and torch would compile again for each.
            module.__dict__[method] = outside_graphs(forward) if compiled else forward
        yield
    finally:
        for (module, method), forward in zip(places, before, strict=True):
            if forward is _ABSENT:
                module.__dict__.pop(method, None)
            else:
                module.__dict__[method] = forward
