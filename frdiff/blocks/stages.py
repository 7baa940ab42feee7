"""A stage is a piece of a network whose result can be remembered; here they are found, and swapped for one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..forward_patch import Forward, Place
from ..store import StageResult, Store, Stream
from ..typed import is_dict, modules_of
from .families import Family, family_of, invariants_of, matching, uncompiled
from .strategies import BlockResidual, ChildResult, Strategy, WholeResult

# Of a full step, measured on the demo models on two cores (scripts/bench.py --overhead).
COST_WITHIN_BLOCKS = 0.31
# Fewer stages are all reused.
SMALLEST_INNER = 4
# The host's option with which it fetches the weights of a block before it calls the block.
PREFETCH = "prefetch_dynamic_vbars"


@dataclass(frozen=True)
class Stage:
    """A module whose `method` is replaced while the network is called, and how it is remembered."""

    path: str
    module: torch.nn.Module
    strategy: Strategy
    method: str = "forward"

    @property
    def place(self) -> Place:
        """What is replaced."""
        return self.module, self.method

    @property
    def computing(self) -> Forward:
        """What the network calls when nothing is replaced."""
        return getattr(self.module, self.method)


def find_stages(
    network: torch.nn.Module,
    families: Mapping[str, Family] | None = None,
    branches: bool = False,
    inner: bool = False,
) -> tuple[Stage, ...]:
    """All stages of a network, in the order of its modules: blocks, or with `branches` their branches where they can.

    With `inner` whole residuals are preferred, and the first and the last stage stay fresh. What does not depend
    on the timestep is no stage: its result need not be approximated.
    """
    constant = tuple(invariants_of(network))
    found = tuple(
        stage
        for path, block in modules_of(network)
        if not _is_below(path, constant) and not path.endswith("_orig_mod")
        for stage in _stages_of(path, block, family_of(block, families), branches, inner)
    )
    return found[1:-1] if inner and len(found) >= SMALLEST_INNER else found


def fetching_on_demand(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call's keyword arguments, with which the host fetches the weights of what computes, and of no other block."""
    options = kwargs.get("transformer_options")
    if not (is_dict(options) and options.get(PREFETCH)):
        return kwargs
    return {**kwargs, "transformer_options": {**options, PREFETCH: False}}


class StageCall:
    """The stages of one network call: counts how often each is entered, and remembers or reuses."""

    def __init__(self, stages: tuple[Stage, ...], stream: Stream, store: Store) -> None:
        self._stages = stages
        self._stream = stream
        self._store = store
        self._entered: dict[str, int] = {}
        self.reused = 0

    def remembering(self) -> dict[Place, Forward]:
        """The forwards that compute a stage and remember its result."""
        return {stage.place: partial(self._remember, stage, stage.computing) for stage in self._stages}

    def reusing(self) -> dict[Place, Forward]:
        """The forwards that answer from memory, and compute where nothing fits."""
        return {stage.place: partial(self._reuse, stage, stage.computing) for stage in self._stages}

    def _name(self, stage: Stage) -> tuple[str, int]:
        # The same block may run several times in a call, for references, tiles or repeats.
        occurrence = self._entered.get(stage.path, 0)
        self._entered[stage.path] = occurrence + 1
        return stage.path, occurrence

    def _remember(self, stage: Stage, forward: Forward, *args: Any, **kwargs: Any) -> Any:
        name = self._name(stage)
        signature = stage.strategy.signature(args, kwargs)
        if signature is None:
            return forward(*args, **kwargs)
        result, kept = stage.strategy.remember(forward, args, kwargs)
        if kept is not None:
            self._store.keep_stage(self._stream, name, StageResult(signature, kept))
        return result

    def _reuse(self, stage: Stage, forward: Forward, *args: Any, **kwargs: Any) -> Any:
        feature = self._stream.stages.get(self._name(stage))
        if feature is None or feature.signature != stage.strategy.signature(args, kwargs):
            return forward(*args, **kwargs)
        self.reused += 1
        return stage.strategy.reuse(forward, feature.kept, args, kwargs)


def _stages_of(
    path: str, block: torch.nn.Module, family: Family | None, branches: bool, inner: bool
) -> Iterator[Stage]:
    if family is None:
        return
    own = uncompiled(block)
    if family.branches and (branches or not (family.inputs or family.child)):
        yield from (Stage(f"{path}.{name}", branch, WholeResult()) for name, branch in matching(own, family.branches))
    elif family.child and not (inner and _does_nothing(own, family.skip)):
        children = dict(matching(own, (family.child, *family.idle)))
        if family.child in children:
            child = children.pop(family.child)
            yield Stage(path, block, ChildResult(child, tuple(children.values())))
    else:
        base, after = (own.get_submodule(name) if name else None for name in (family.base, family.after))
        yield Stage(path, block, BlockResidual(family.inputs, family.mutates, base, after), family.method)


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root + ".") for root in roots)


def _does_nothing(block: torch.nn.Module, child: str) -> bool:
    """Whether a block's skip connection hands its input on as it is."""
    return bool(child) and isinstance(block.get_submodule(child), torch.nn.Identity)
