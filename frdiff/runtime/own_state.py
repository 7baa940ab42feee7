"""Networks that change by being called, whose calls cannot be left out: seen from what a call leaves behind."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..engine import NetworkCall
from ..typed import is_dict, is_list, modules_of

# A network is looked at in so many calls: what changes once is prepared, what changes in each is counted.
CALLS = 2
# How deep the host's options are looked through; what is below belongs to no call.
DEEPEST = 4
# So many elements of a buffer that torch keeps no count of.
LOOKED_AT = 65536
# Modules of these packages do one calculation each.
LEAVES = ("torch.", "comfy.ops")

# Numbers, or what else tells a change, by the container that they are in, its identity first, and their place there.
Numbers = dict[tuple[int, Any], Any]
# A module, with its lists and dictionaries and its buffers.
Kept = tuple[torch.nn.Module, list[Any], dict[str, torch.Tensor]]


class OwnState:
    """Watches computed calls, and says in `found` whether one has changed what the next one begins with.

    Looked at are numbers that a call overwrites: in what the host shares between calls, where one change is enough and
    a list that grows is one too, and in the network, where it has to be in two calls one after the other, and its
    buffers, whatever is written into them. What is only added, such as a remembered table, changes nothing.
    """

    def __init__(self) -> None:
        self.found = False
        self._changed: dict[int, list[set[tuple[int, Any]]]] = {}

    @contextmanager
    def watching(self, call: NetworkCall) -> Generator[None, None, None]:
        """Watch one computed call."""
        before = self._changed.setdefault(id(call.network), [])
        looks = len(before) < CALLS
        # What is looked at is held, so that nothing else gets its identity.
        held = list(_containers(call.shared, DEEPEST))
        kept = list(_kept_by(call.network)) if looks else []
        shared, own = _numbers(held), _numbers_of_network(call.network, kept)
        yield
        self.found = self.found or bool(_changes(shared, _numbers(held)))
        if looks:
            before.append(_changes(own, _numbers_of_network(call.network, list(_kept_by(call.network)))))
            self.found = self.found or len(before) == CALLS and bool(set[Any].intersection(*before))


def _changes(before: Numbers, after: Numbers) -> set[tuple[int, Any]]:
    return {place for place, number in before.items() if after.get(place, number) != number}


def _containers(value: Any, depth: int) -> Iterator[Any]:
    """The lists and dictionaries inside one, which a call shares with the next; the outermost is made for each call."""
    if depth and (is_dict(value) or is_list(value)):
        for _, inner in _items(value):
            if isinstance(inner, (dict, list)):
                yield inner
                yield from _containers(inner, depth - 1)


def _numbers(containers: list[Any]) -> Numbers:
    found: Numbers = {}
    for each in containers:
        if is_list(each):
            found[id(each), len] = len(each)
        for name, value in _items(each):
            if _is_number(value):
                found[id(each), name] = value
    return found


def _items(container: Any) -> Iterable[tuple[Any, Any]]:
    return list(enumerate(container)) if is_list(container) else list(container.items())


def _kept_by(network: torch.nn.Module) -> Iterator[Kept]:
    """The network's modules, each with its lists and dictionaries and its buffers."""
    for _, module in modules_of(network):
        if not type(module).__module__.startswith(LEAVES):
            containers = list(_containers(dict(_attributes(module)), DEEPEST))
            yield module, containers, dict(module.named_buffers(recurse=False))


def _numbers_of_network(network: torch.nn.Module, kept: list[Kept]) -> Numbers:
    """Those of the network itself, and of what its modules keep in lists, dictionaries and buffers.

    A number that an inner module keeps of its own is nearly always a statistic, and a list that grows is a record.
    """
    found: Numbers = {(id(network), name): value for name, value in _attributes(network) if _is_number(value)}
    for module, containers, buffers in kept:
        found |= {place: number for place, number in _numbers(containers).items() if place[1] is not len}
        found |= {(id(module), name): _written(buffer) for name, buffer in buffers.items()}
    return found


def _written(buffer: torch.Tensor) -> Any:
    """What is another value after the buffer, of any shape, was replaced or written into.

    Torch counts the writes into all tensors but those that were made in inference mode; of these a part is looked at.
    """
    if not buffer.is_inference():
        return id(buffer), getattr(buffer, "_version", 0)
    if buffer.device.type == "meta":
        return id(buffer), 0
    real = torch.view_as_real(buffer) if buffer.is_complex() else buffer
    values = real.reshape(-1)[:LOOKED_AT].float().nan_to_num()
    return id(buffer), float(values @ torch.arange(1.0, len(values) + 1).to(values))


def _attributes(module: torch.nn.Module) -> list[tuple[str, Any]]:
    """A module's own, without what torch and the host keep there."""
    return [(name, value) for name, value in module.__dict__.items() if not name.startswith(("_", "comfy"))]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
