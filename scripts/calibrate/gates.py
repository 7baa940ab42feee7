"""The paper's Auto-FR: one gate per step, learned with gradients through the whole sampling chain.

So, Lee and Park, FRDiff (arXiv 2312.03517), section 3.4. For models whose chain fits into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from ...frdiff.auto_fr.recorder import record
from ...frdiff.auto_fr.search import fewest_full
from ...frdiff.auto_fr.trajectory import Trajectory
from ...frdiff.engine import NetworkCall, RunFacts, Sample
from ...frdiff.errors import FRDiffError
from ...frdiff.forecasting.rules import REUSE
from ...frdiff.forward_patch import swapped
from ...frdiff.planning.plan import StepKind
from ...frdiff.runtime.budget import is_out_of_memory
from ...frdiff.sampler.noise_levels import step_of_sigma
from ...frdiff.schedule_files.model import Point, Provenance, ScheduleFile

FIRST_GATE = 0.1

ADDS_NOISE = "The gates cannot be learned with a sampler that adds noise. Choose another, such as euler or dpmpp_2m."
NO_GRADIENT = (
    "The gates cannot be learned with this sampler or model: no gradient comes through it. "
    "Choose euler or dpmpp_2m, or calibrate without the gates."
)
NO_ROOM = "The gates cannot be learned here: the memory does not hold all steps of a run. Calibrate without them."
OWN_RUN = "Learned as the paper's Auto-FR, for repeated outputs, and not compared with the uncalibrated schedule."

Progress = Callable[[float, str], None]
Keep = Callable[[ScheduleFile], None]
Kinds = tuple[StepKind, ...]


@dataclass(frozen=True)
class GateSettings:
    """Adam's rate, iterations, and the weight of the gates that stay open against the error.

    Raises FRDiffError when there is nothing to learn from.
    """

    rate: float = 5e-3
    iterations: int = 100
    # With the paper's 1e-3 the demo models' gates closed all at once and opened again (docs/findings_auto_fr.md).
    weight: float = 0.3

    def __post_init__(self) -> None:
        if self.iterations < 1 or not (0 < self.rate < float("inf") and 0 <= self.weight < float("inf")):
            raise FRDiffError("The gates need one iteration or more, a rate above 0 and a weight that is not negative.")


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


class StandIns:
    """The tensors of networks, without a part in gradients but letting them through.

    Those that were made in inference mode, as the host makes them, let none through, and are copied once.
    """

    def __init__(self) -> None:
        self._known: dict[torch.nn.Module, dict[str, torch.Tensor]] = {}

    def of(self, network: torch.nn.Module) -> dict[str, torch.Tensor]:
        """What stands in for a network's own tensors, by their names, as far as that is needed."""
        if network not in self._known:
            self._known[network] = {
                name: tensor.clone() if tensor.is_inference() else tensor.detach()
                for name, tensor in (*network.named_parameters(), *network.named_buffers())
                if tensor.requires_grad or tensor.is_inference()
            }
        return self._known[network]


class GatedRun:
    """An engine that computes every step and answers with the newest or the last open step's output, by the gate.

    `gates` are (steps,), 1 where a step is open and 0 where it is closed.
    """

    looks_at_inputs = True

    def __init__(self, gates: torch.Tensor, facts: RunFacts, stand_ins: StandIns) -> None:
        self._gates = gates
        self._sigmas = facts.sigmas
        self._stand_ins = stand_ins
        self._step = 0
        self._kept: dict[Hashable, torch.Tensor] = {}

    def reserve(self, output_bytes: int, stage_bytes: int) -> int:
        """Nothing: what gradients need is many times that, and is asked for when it is needed."""
        return 0

    def begin_evaluation(self, sigma: float, x: object = None) -> None:
        """Start an evaluation."""
        self._step = step_of_sigma(sigma, self._sigmas)

    def call(self, call: NetworkCall) -> Any:
        """Compute one call, without keeping what its gradient needs, and mix by the gate."""
        entry, forward = call.entry, call.entry.forward
        key, gate = (call.stream, id(call.network)), self._gates[self._step]

        def answered(*args: Any, **kwargs: Any) -> Any:
            def compute(*inputs: Any) -> Any:
                with swapped({entry: forward}):
                    return functional_call(entry, self._stand_ins.of(entry), inputs, kwargs)

            fresh = _checkpointed(compute, args)
            kept, here = self._kept.get(key), gate.to(fresh)
            output = fresh if kept is None else here * fresh + (1 - here) * kept
            self._kept[key] = output
            return output

        return call.answered_by(answered)

    def end_evaluation(self, denoised: object) -> None:
        """Nothing to note."""

    def close(self, finished: bool = True) -> None:
        """Forget everything."""
        self._kept.clear()


def _checkpointed(compute: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
    """What torch's checkpoint returns, and nothing of it left behind when `compute` raises.

    Some versions of it leave hooks, as long as the exception lives, that compute again in whatever backward pass
    comes next, of anyone.
    """
    failures: list[BaseException] = []
    entered = True

    def attempt(*inputs: Any) -> Any:
        try:
            return compute(*inputs)
        except BaseException as error:
            if not entered:
                raise
            failures.append(error)

    result = checkpoint(attempt, *inputs, use_reentrant=False)
    entered = False
    if failures:
        raise failures[0]
    return result


def learn(
    sample: Sample, made: Provenance, name: str, seed: int, settings: GateSettings | None = None,
    progress: Progress = lambda part, text: None, keep: Keep = lambda file: None,
) -> ScheduleFile:  # fmt: skip
    """Learn the gates and return their schedules as a file; `keep` is given each that is better than the one before.

    `sample` must let gradients through. Loss: the squared error of the final latent against the full run's from the
    same noise, relative to its size, plus the weighted penalty (the paper's Auto-FR loss). The gates pass through many
    schedules on their way; the file holds the front of those, by full steps and error.
    """
    with torch.no_grad():
        trajectory = record(sample, seed)
    trajectory.steps()
    if trajectory.stochastic:
        raise FRDiffError(ADDS_NOISE)
    made = replace(made, stages=trajectory.stages)
    best: dict[int, tuple[float, Kinds]] = {}
    points: tuple[Point, ...] = ()

    def file() -> ScheduleFile:
        return ScheduleFile(
            name, trajectory.times, points, made, REUSE, method="gates", notes=(OWN_RUN,),
            milliseconds=trajectory.milliseconds,
        )  # fmt: skip

    for error, kinds in _training(sample, trajectory, settings or GateSettings(), progress):
        count = kinds.count(StepKind.FULL)
        best[count] = min(best.get(count, (error, kinds)), (error, kinds), key=lambda found: found[0])
        known, points = points, _front(best, fewest_full(len(kinds)))
        if points != known:
            keep(file())
    return file()


def _front(best: dict[int, tuple[float, Kinds]], fewest: float) -> tuple[Point, ...]:
    """From many full steps to few; more have to be better than fewer."""
    points: list[Point] = []
    for count, (error, kinds) in sorted(best.items()):
        if count >= fewest and (not points or error < points[-1].expected):
            points.append(Point(kinds, count / len(kinds), error, error=error))
    return tuple(reversed(points))


def _training(
    sample: Sample, trajectory: Trajectory, settings: GateSettings, progress: Progress
) -> Iterator[tuple[float, Kinds]]:
    """Train; yields each iteration's relative error of the final latent and its schedule."""
    gates = Gates(len(trajectory.times) - 1)
    optimiser = torch.optim.Adam(gates.parameters(), lr=settings.rate)
    truth, stand_ins = trajectory.final, StandIns()
    for iteration in range(settings.iterations):
        progress(iteration / settings.iterations, f"Learning the gates ({iteration + 1}/{settings.iterations})")
        optimiser.zero_grad()
        with torch.enable_grad(), _sentences():
            opened = gates.open()
            final = sample(lambda facts, opened=opened: GatedRun(opened, facts, stand_ins), trajectory.seed, None)
            error = (final - truth.to(final)).square().mean() / truth.square().mean()
            if not error.requires_grad:
                raise FRDiffError(NO_GRADIENT)
            (error + settings.weight * gates.penalty()).backward()
        kinds = tuple(StepKind.FULL if is_open else StepKind.SKIP for is_open in opened.tolist())
        yield float(error.detach().sqrt()), kinds
        optimiser.step()


@contextmanager
def _sentences() -> Iterator[None]:
    """Say what torch's errors mean here."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise FRDiffError(NO_ROOM) from error
        if "autograd" in str(error):
            raise FRDiffError(NO_GRADIENT) from error
        raise
