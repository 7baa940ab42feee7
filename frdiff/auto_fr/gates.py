"""The paper's Auto-FR: one gate per step, learned with gradients through the whole sampling chain.

So, Lee and Park, FRDiff (arXiv 2312.03517), section 3.4. For models whose chain fits into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from ..facts import RunFacts
from ..forecast import REUSE
from ..planner import step_index
from ..provenance import Provenance, network_of
from ..report import RunReport
from ..schedule import StepKind
from ..schedule_file import Point, ScheduleFile
from ..swapping import swapped
from .engine import Sample
from .profile import Trajectory, record

FIRST_GATE = 0.1

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class GateSettings:
    """The paper's values: Adam's rate, iterations, and the weight of the gates that stay open."""

    rate: float = 5e-3
    iterations: int = 100
    weight: float = 1e-3


class Gates(torch.nn.Module):
    """A gate for every step but the first, which is always computed."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(torch.full((steps - 1,), FIRST_GATE))

    def open(self) -> torch.Tensor:
        """`round(sigmoid(g))` going forward, the gradient of `sigmoid(g)` going back, of shape (steps,)."""
        soft = torch.sigmoid(self.values)
        hard = soft + (soft.round() - soft).detach()
        return torch.cat([torch.ones(1), hard])

    def penalty(self) -> torch.Tensor:
        """`sum(relu(2 sigmoid(g) - 1))`: what the open gates cost."""
        return torch.relu(2 * torch.sigmoid(self.values) - 1).sum()


class GatedRun:
    """An engine that computes every step and answers with the newest or the last open step's output, by the gate."""

    def __init__(self, gates: torch.Tensor, facts: RunFacts) -> None:
        self._gates = gates
        self._facts = facts
        self._step = 0
        self.report = RunReport("gates", len(gates))
        self._kept: dict[Hashable, torch.Tensor] = {}

    def begin_evaluation(self, sigma: float, x: torch.Tensor | None = None) -> None:
        """Start an evaluation."""
        self._step = step_index(sigma, self._facts.sigmas)

    def end_evaluation(self, denoised: torch.Tensor) -> None:
        """Nothing to note."""

    def call(
        self, key: Hashable, network: torch.nn.Module, run: Callable[[], Any],
        compiled: torch.nn.Module | None = None, x: torch.Tensor | None = None,
    ) -> Any:  # fmt: skip
        """Compute one call, without keeping what its gradient needs, and mix by the gate."""
        entry = network if compiled is None else compiled
        forward = entry.forward
        gate = self._gates[self._step]

        def answered(*args: Any, **kwargs: Any) -> Any:
            fresh = checkpoint(lambda *inputs: forward(*inputs, **kwargs), *args, use_reentrant=False)
            kept = self._kept.get(key)
            output = fresh if kept is None else gate.to(fresh) * fresh + (1 - gate.to(fresh)) * kept
            self._kept[key] = output
            return output

        with swapped({entry: answered}, compiled is not None):
            return run()

    def close(self) -> None:
        """Forget everything."""
        self._kept.clear()


def learn(
    sample: Sample, made: Provenance, name: str, seed: int, settings: GateSettings | None = None,
    progress: Progress = lambda part, text: None,
) -> ScheduleFile:  # fmt: skip
    """Learn the gates and return their schedules as a file; `sample` must let gradients through.

    Loss: the squared error of the final latent against the full run's from the same noise, plus the weighted
    penalty (the paper's Auto-FR loss). The gates pass through many schedules on their way; the file holds the front
    of those, by steps and error.
    """
    with torch.no_grad():
        trajectory, network = record(sample, seed)
    trajectory.steps()
    best: dict[int, tuple[float, tuple[StepKind, ...]]] = {}
    for error, kinds in _training(sample, trajectory, network, settings or GateSettings(), progress):
        count = kinds.count(StepKind.FULL)
        best[count] = min(best.get(count, (error, kinds)), (error, kinds), key=lambda found: found[0])
    points: list[Point] = []
    for count, (error, kinds) in sorted(best.items()):
        # More steps have to be better than fewer.
        if not points or error**0.5 < points[-1].expected:
            points.append(Point(kinds, count / len(kinds), error**0.5))
    made = replace(made, network=network_of(network))
    return ScheduleFile(name, trajectory.times, tuple(reversed(points)), made, REUSE, method="gates")


def _training(
    sample: Sample, trajectory: Trajectory, network: torch.nn.Module, settings: GateSettings, progress: Progress
) -> Iterator[tuple[float, tuple[StepKind, ...]]]:
    """Train; yields each iteration's mean squared error and its schedule."""
    gates = Gates(len(trajectory.times) - 1)
    optimiser = torch.optim.Adam(gates.parameters(), lr=settings.rate)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        for iteration in range(settings.iterations):
            progress(iteration / settings.iterations, f"Learning the gates, {iteration} of {settings.iterations}")
            with torch.enable_grad():
                opened = gates.open()
                final = sample(lambda facts, opened=opened: GatedRun(opened, facts), trajectory.seed, None)
                error = torch.nn.functional.mse_loss(final, trajectory.final.to(final))
                optimiser.zero_grad()
                (error + settings.weight * gates.penalty()).backward()
            kinds = tuple(StepKind.FULL if is_open else StepKind.SKIP for is_open in opened.tolist())
            yield float(error.detach()), kinds
            optimiser.step()
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
