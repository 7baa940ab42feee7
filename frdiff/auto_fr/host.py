"""What Auto-FR asks of a host: sampling runs that an engine of its own follows."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch

from ..engine import RunFacts
from ..reporting.report import RunReport

# One sampling run with a seed and a number of steps, None for the calibrated one; returns the final latent.
Sample = Callable[["MakeEngine", int, "int | None"], torch.Tensor]
MakeEngine = Callable[[RunFacts], "Engine"]


class Engine(Protocol):
    """What follows a sampling run: a Session, a recorder, a roll-out."""

    @property
    def report(self) -> RunReport: ...
    def begin_evaluation(self, sigma: float, x: torch.Tensor | None = None) -> None: ...
    def call(
        self, key: Hashable, network: torch.nn.Module, run: Callable[[], Any],
        compiled: torch.nn.Module | None = None, x: torch.Tensor | None = None,
    ) -> Any: ...  # fmt: skip
    def end_evaluation(self, denoised: torch.Tensor) -> None: ...
    def close(self) -> Any: ...
