"""A stage is a piece of a network whose result can be remembered; here they are found, and swapped for one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from .families import Argument, Family, family_of
from .features import Features, StageFeature, Stream

Forward = Callable[..., Any]
_ABSENT = object()


@dataclass(frozen=True)
class Stage:
    """A module whose `forward` is replaced while the network is called, and how its block is remembered."""

    path: str
    module: torch.nn.Module
    family: Family


def find_stages(network: torch.nn.Module, families: dict[str, Family] | None = None) -> tuple[Stage, ...]:
    """All stages of a network, in the order of its modules."""
    found = ((path, block, family_of(block, families)) for path, block in network.named_modules())
    return tuple(
        Stage(path, block.get_submodule(family.child), family) for path, block, family in found if family is not None
    )


# Of a full step, measured on the demo models on two cores (scripts/bench.py --overhead).
COST_WITHIN_BLOCKS = 0.31
COST_OF_BLOCKS = 0.10


def partial_cost(stages: tuple[Stage, ...]) -> float | None:
    """The expected time of a step that reuses `stages`, over that of a full one; None without stages."""
    if not stages:
        return None
    return COST_WITHIN_BLOCKS if any(stage.family.child for stage in stages) else COST_OF_BLOCKS


class StageCall:
    """The stages of one network call: counts how often each is entered, and remembers or reuses."""

    def __init__(self, stages: tuple[Stage, ...], stream: Stream, features: Features) -> None:
        self._stages = stages
        self._stream = stream
        self._features = features
        self._entered: dict[str, int] = {}
        self.reused = 0

    def remembering(self) -> dict[torch.nn.Module, Forward]:
        """The forwards that compute a stage and remember its result."""
        return {stage.module: partial(self._remember, stage, stage.module.forward) for stage in self._stages}

    def reusing(self) -> dict[torch.nn.Module, Forward]:
        """The forwards that answer from memory, and compute where nothing fits."""
        return {stage.module: partial(self._reuse, stage, stage.module.forward) for stage in self._stages}

    def _name(self, stage: Stage) -> tuple[str, int]:
        occurrence = self._entered.get(stage.path, 0)
        self._entered[stage.path] = occurrence + 1
        return stage.path, occurrence

    def _remember(self, stage: Stage, forward: Forward, *args: Any, **kwargs: Any) -> Any:
        name = self._name(stage)
        inputs = _inputs(stage.family, args, kwargs)
        if inputs is None:
            return forward(*args, **kwargs)
        shapes = tuple(value.shape for value in inputs)
        if stage.family.mutates:
            inputs = [value.clone() for value in inputs]
        result = forward(*args, **kwargs)
        outputs: tuple[torch.Tensor | None, ...] = result if isinstance(result, tuple) else (result,)
        if stage.family.child:
            self._features.keep_stage(self._stream, name, StageFeature(shapes, outputs))
        elif all(value is None or value.shape == base.shape for value, base in zip(outputs, inputs, strict=True)):
            residuals = tuple(
                None if value is None else value - base for value, base in zip(outputs, inputs, strict=True)
            )
            self._features.keep_stage(self._stream, name, StageFeature(shapes, residuals))
        return result

    def _reuse(self, stage: Stage, forward: Forward, *args: Any, **kwargs: Any) -> Any:
        feature = self._stream.stages.get(self._name(stage))
        inputs = _inputs(stage.family, args, kwargs)
        if feature is None or inputs is None or tuple(value.shape for value in inputs) != feature.shapes:
            return forward(*args, **kwargs)
        self.reused += 1
        if stage.family.child:
            (value,) = feature.tensors
            return value
        # New tensors: the host's loops write into what a block returns.
        outputs = [None if r is None else base + r for r, base in zip(feature.tensors, inputs, strict=True)]
        return tuple(outputs) if len(outputs) > 1 else outputs[0]


@contextmanager
def swapped(forwards: Mapping[torch.nn.Module, Forward], traced: bool = False) -> Iterator[None]:
    """Replace the modules' `forward` inside the block, and leave every module exactly as it was.

    `traced` says that the modules are compiled: then the new forwards are kept out of the compiled graphs.
    """
    before = [(module, module.__dict__.get("forward", _ABSENT)) for module in forwards]
    try:
        for module, forward in forwards.items():
            # Our state differs at each call, and torch would compile again for each.
            module.__dict__["forward"] = torch.compiler.disable(forward, recursive=False) if traced else forward
        yield
    finally:
        for module, forward in before:
            if forward is _ABSENT:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward


def _inputs(family: Family, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor] | None:
    """The tensors that a block's outputs add to, or None when the call does not have them."""
    found = [_argument(where, args, kwargs) for where in family.inputs]
    return found if all(isinstance(value, torch.Tensor) for value in found) else None


def _argument(where: Argument, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    position, name = where
    return kwargs[name] if name in kwargs else (args[position] if position < len(args) else None)
