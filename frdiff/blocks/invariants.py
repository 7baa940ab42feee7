"""Exact reuse: pieces of a network that do not vary with the timestep, computed once for each condition."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..forward_patch import Forward, Place
from ..store import Store
from ..tensors import copied, equal, is_tensors_alone, size_in_bytes, snapshot
from ..typed import is_dict
from .families import ATTENTION_OPTIONS, invariants_of


@dataclass(frozen=True)
class Invariant:
    """A piece's result, and the arguments that it was computed from."""

    given: tuple[Any, ...]
    result: Any

    @property
    def size(self) -> int:
        """In bytes."""
        return size_in_bytes(self.given) + size_in_bytes(self.result)


class Invariants:
    """What one run has computed of them, by stream, in the memory budget of `store`.

    A result is used for equal inputs only, so it is exact.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pieces: dict[int, dict[str, torch.nn.Module]] = {}
        self._kept: dict[tuple[Hashable, str], Invariant] = {}

    def forwards(self, key: Hashable, network: torch.nn.Module) -> dict[Place, Forward]:
        """The forwards to swap in for a call of `network` in the stream `key`."""
        pieces = self._pieces.get(id(network))
        if pieces is None:
            # Not read back: another thread that ran out of memory may forget it.
            pieces = self._pieces[id(network)] = invariants_of(network)
        return {piece: partial(self._answer, (key, path), piece.forward) for path, piece in pieces.items()}

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._kept.clear()

    def _answer(self, name: tuple[Hashable, str], forward: Forward, *args: Any, **kwargs: Any) -> Any:
        if _may_depend_on_the_step((*args, *kwargs.values())):
            return forward(*args, **kwargs)
        given = (*args, *sorted(kwargs.items()))
        kept = self._kept.get(name)
        if kept is not None and equal(kept.given, given):
            return copied(kept.result)
        # Before it runs: a piece may write into its inputs.
        given = snapshot(given)
        result = forward(*args, **kwargs)
        if is_tensors_alone(result):
            self._keep(name, Invariant(given, copied(result)))
        return result

    def _keep(self, name: tuple[Hashable, str], result: Invariant) -> None:
        older = self._kept.pop(name, None)
        if older is not None:
            self._store.give(older.size)
        if self._store.take(result.size):
            self._kept[name] = result


def _may_depend_on_the_step(values: tuple[Any, ...]) -> bool:
    """Whether the host's options carry something that changes what attention computes."""
    return any(value.get(name) for value in values if is_dict(value) for name in ATTENTION_OPTIONS)
