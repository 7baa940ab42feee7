"""Networks that the table does not know: residual blocks are recognised by watching one call, or refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..forward_patch import Forward, Place
from ..tensors import is_plain
from ..typed import is_dict, is_list, is_tuple, modules_of, norm
from .families import Argument, Family, class_name, uncompiled

# The position of an argument that is always passed by name.
NOWHERE = sys.maxsize


class Refusal(Exception):
    """Why a class of blocks cannot be remembered, as a clause with a full stop."""


@dataclass(frozen=True)
class Sighting:
    """What one call of a block showed: which input each output adds to, and whether inputs were written into."""

    inputs: tuple[Argument, ...]
    mutates: bool


class Probe:
    """Watches, in one call, the members of every ModuleList of two or more blocks of one class."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._blocks = dict(_candidates(network))
        self._sightings: dict[str, list[Sighting]] = {}
        self.refusals: dict[str, str] = {}

    def forwards(self) -> dict[Place, Forward]:
        """The forwards to swap in for the call: they compute, and note what they see."""
        return {block: partial(self._watch, block, block.forward) for block in self._blocks.values()}

    def families(self) -> dict[str, Family]:
        """After the call: rows for the table. Blocks inside recognised blocks have none."""
        found: dict[str, Family] = {}
        recognised: list[str] = []
        for path, block in self._blocks.items():
            name = class_name(type(uncompiled(block)))
            inside = any(path.startswith(outer + ".") for outer in recognised)
            if inside or name in self.refusals or name not in self._sightings:
                continue
            sightings = self._sightings[name]
            if len({sighting.inputs for sighting in sightings}) > 1:
                self.refusals[name] = "they are not all called in the same way."
                continue
            found[name] = Family(sightings[0].inputs, mutates=any(sighting.mutates for sighting in sightings))
            recognised.append(path)
        return found

    def _watch(self, block: torch.nn.Module, forward: Forward, *args: Any, **kwargs: Any) -> Any:
        name = class_name(type(uncompiled(block)))
        if name in self.refusals:
            return forward(*args, **kwargs)
        before = _tensors(args, kwargs)
        copies = {where: value.clone() for where, value in before.items()}
        containers = _lengths(args, kwargs)
        result = forward(*args, **kwargs)
        try:
            if containers != _lengths(args, kwargs):
                raise Refusal("they change a list or dictionary that they are called with.")
            sighting = sighted(result, before, copies)
        except Refusal as refusal:
            self.refusals[name] = str(refusal)
        else:
            self._sightings.setdefault(name, []).append(sighting)
        return result


def sighted(result: Any, inputs: Mapping[Argument, torch.Tensor], copies: Mapping[Argument, torch.Tensor]) -> Sighting:
    """What a call shows, from its result and its tensor inputs as objects and as they were; raises Refusal.

    Inputs and outputs are tensors such as (B, T, C) or (B, C, ...); each output has the shape of one input.
    """
    outputs = result if is_tuple(result) else (result,)
    if not outputs or not all(is_plain(value) for value in outputs):
        raise Refusal("they return something else than tensors.")
    pairs = tuple(_paired(value, copies) for value in outputs)
    if len(set(pairs)) != len(pairs):
        raise Refusal("two of their outputs would add to the same input.")
    written = {where for where, value in inputs.items() if not torch.equal(value, copies[where])}
    returned = {where for where, value in zip(pairs, outputs, strict=True) if _shares(value, inputs[where])}
    if written - returned:
        raise Refusal("they write into an input that they do not return.")
    return Sighting(pairs, mutates=bool(returned))


def _paired(output: torch.Tensor, copies: Mapping[Argument, torch.Tensor]) -> Argument:
    """The one input that an output adds to, of the same shape."""
    alike = [where for where, v in copies.items() if (v.shape, v.dtype) == (output.shape, output.dtype)]
    if not alike:
        raise Refusal("an output has the shape of no input.")
    if len(alike) > 1:
        raise Refusal(f"an output could add to any of {len(alike)} inputs of its shape.")
    # Of y = x + f(x) less is left when x is taken away, unless f works against x.
    base, value = copies[alike[0]].double(), output.double()
    if not norm(value - base) < norm(value):
        raise Refusal("their output does not contain their input, so they are not residual blocks.")
    return alike[0]


def _candidates(network: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Members of lists of one class, by path. Single layers and torch's own containers are no blocks."""
    for path, members in modules_of(network):
        if not isinstance(members, torch.nn.ModuleList):
            continue
        classes = {type(uncompiled(member)) for member in members}
        if len(members) < 2 or len(classes) != 1 or classes.pop().__module__.split(".")[0] == "torch":
            continue
        for name, member in members.named_children():
            if next(member.children(), None) is not None:
                yield f"{path}.{name}", member


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[Argument, torch.Tensor]:
    """A call's inputs of floating point, of any shape, by where they stand."""
    values = {(i, ""): value for i, value in enumerate(args)} | {(NOWHERE, k): v for k, v in kwargs.items()}
    return {where: v for where, v in values.items() if is_plain(v)}


def _lengths(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
    """Of the lists and dictionaries that a call is given, by themselves or as what an object of its own keeps."""
    given = [*args, *kwargs.values()]
    for value in list(given):
        given.extend(_fields(value))
    return [len(value) for value in given if is_list(value) or is_dict(value)]


def _fields(value: Any) -> list[Any]:
    """What an object keeps; nothing of tensors, networks and classes."""
    if isinstance(value, (torch.Tensor, torch.nn.Module, type)):
        return []
    return list(getattr(value, "__dict__", {}).values())


def _shares(output: torch.Tensor, given: torch.Tensor) -> bool:
    """Whether two tensors of one shape begin at the same place in memory."""
    return output.data_ptr() == given.data_ptr()
