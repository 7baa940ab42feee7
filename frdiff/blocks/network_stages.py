"""The stages of a run's networks: from the table, or from watching the first full call."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch

from ..forward_patch import swapped
from ..reasons import RECOGNISED, REFUSED, Reason
from .discovery import Probe
from .families import Family, class_name, uncompiled
from .stages import Stage, find_stages
from .strategies import WholeResult


class NetworkStages:
    """The stages of a run's networks: from the table, or from watching the first full call.

    `families`, `branches` and `inner` are those of RunOptions.
    """

    def __init__(
        self, families: Mapping[str, Family] | None = None, branches: bool = False, inner: bool = False
    ) -> None:
        self._families = families
        self._branches = branches
        self._inner = inner
        self._found: dict[int, tuple[Stage, ...]] = {}
        self._networks: dict[int, torch.nn.Module] = {}
        self._watched: set[int] = set()
        self.reasons: list[Reason] = []

    def of(self, network: torch.nn.Module) -> tuple[Stage, ...]:
        """The stages that are known by now."""
        if id(network) not in self._found:
            self._networks[id(network)] = network
            self._found[id(network)] = self._find(network)
        return self._found[id(network)]

    @property
    def most(self) -> tuple[Stage, ...]:
        """The stages of the network that has most of them."""
        return max(self._found.values(), key=len, default=())

    @property
    def networks(self) -> int:
        """How many networks were asked for."""
        return len(self._found)

    @contextmanager
    def watching(self, network: torch.nn.Module) -> Generator[None, None, None]:
        """Around a full call: if the table knows no stage of the network, learn its stages from the call."""
        if self.of(network) or id(network) in self._watched:
            yield
            return
        probe = Probe(network)
        with swapped(probe.forwards()):
            yield
        families = probe.families()
        self._watched.add(id(network))
        found = self._found[id(network)] = find_stages(network, families)
        # What is recognised is not always of use: it may belong to the part that is computed once.
        used = {class_name(type(uncompiled(stage.module))) for stage in found}
        self.reasons += [RECOGNISED.of(block=name.rpartition(".")[2]) for name in families if name in used]
        self.reasons += [REFUSED.of(block=name.rpartition(".")[2], why=why) for name, why in probe.refusals.items()]

    def coarsen(self) -> bool:
        """Take whole blocks instead of their branches, and say whether there were branches."""
        if not self._branches:
            return False
        self._branches = False
        in_branches = [
            key for key, found in self._found.items() if any(isinstance(stage.strategy, WholeResult) for stage in found)
        ]
        for key in in_branches:
            self._found[key] = self._find(self._networks[key])
        return bool(in_branches)

    def clear(self) -> None:
        """Let go of the networks."""
        self._found.clear()
        self._networks.clear()
        self._watched.clear()

    def _find(self, network: torch.nn.Module) -> tuple[Stage, ...]:
        return find_stages(network, self._families, self._branches, self._inner)
