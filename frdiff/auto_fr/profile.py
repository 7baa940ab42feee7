"""Record full runs, compactly: what every network call answered, and what full and partial steps cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch

from ..errors import FRDiffError
from ..facts import RunFacts
from ..families import Family
from ..features import Features, Stream
from ..planner import step_index
from ..probing import Stages
from ..report import RunReport
from ..schedule import Course, course_of
from ..solver import SolverWatch
from ..stages import StageCall
from ..swapping import swapped
from .engine import Sample

CANNOT_FOLLOW = (
    "Auto-FR cannot calibrate this sampler: it did not evaluate the model once at every step. "
    "Choose another sampler, such as euler or dpmpp_2m; the schedule can then be used with this one."
)

OTHER_CACHE = "Auto-FR cannot calibrate a model with another cache on it: remove EasyCache or LazyCache first."


@dataclass
class Evaluation:
    """One evaluation of a full run: the step it belongs to, the network's outputs in call order, on the CPU.

    `x` and `denoised` are what the sampler gave and got. `partial` are the errors that partial steps had here, by
    the keyframe that they reused: one list of tensors per keyframe, in call order.
    """

    step: int
    sigma: float
    time: float
    x: torch.Tensor
    denoised: torch.Tensor | None = None
    outputs: list[Any] = field(default_factory=list)
    partial: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    full_ms: float = 0.0
    partial_ms: float = 0.0


@dataclass
class Trajectory:
    """A full run: its noise levels, its evaluations and its final latent."""

    seed: int
    sigmas: tuple[float, ...]
    times: tuple[float, ...]
    evaluations: list[Evaluation]
    stochastic: bool
    stages: int
    final: torch.Tensor
    # The run as a schedule sees it.
    course: Course

    @property
    def partial_cost(self) -> float | None:
        """Measured time of a partial step over a full one."""
        pairs = [e for e in self.evaluations if e.partial_ms]
        if not pairs:
            return None
        return min(median(e.partial_ms for e in pairs) / median(e.full_ms for e in pairs), 1.0)

    def steps(self) -> list[Evaluation]:
        """The evaluations; raises FRDiffError when there is not one for each step."""
        if [evaluation.step for evaluation in self.evaluations] != list(range(len(self.sigmas) - 1)):
            raise FRDiffError(CANNOT_FOLLOW)
        return self.evaluations


class Recorder:
    """An engine that computes everything and remembers it.

    Once the sampler is seen to add noise, the stages are kept every `anchor_every` steps, and the steps between are
    also computed in part, which tells the error and the time of a partial step. The sampler gets the full result.
    """

    def __init__(
        self,
        facts: RunFacts,
        families: dict[str, Family] | None = None,
        anchor_every: int = 0,
    ) -> None:
        if facts.other_cache:
            raise FRDiffError(OTHER_CACHE)
        self._sigmas = [float(sigma) for sigma in facts.sigmas]
        self._flow_time = facts.flow_time
        self._stages = Stages(families, inner=True)
        self._anchor_every = anchor_every
        self._features = Features(float("inf"), history=1)
        self._anchor: int | None = None
        self._compiled = False
        self._watch = SolverWatch(facts.region)
        self._rehearsal = facts.rehearsal
        self.report = RunReport("recording", len(self._sigmas) - 1)
        self.evaluations: list[Evaluation] = []
        self.network: torch.nn.Module | None = None

    @property
    def stages(self) -> int:
        """How many stages the network has."""
        return max(map(len, self._stages.found()), default=0)

    def begin_evaluation(self, sigma: float, x: torch.Tensor | None = None) -> None:
        """Start an evaluation."""
        if x is None:
            raise FRDiffError("Auto-FR cannot calibrate with this guider: it calls the model in a way of its own.")
        self._watch.arrived(x)
        step = step_index(sigma, self._sigmas)
        first = not self.evaluations or self.evaluations[-1].step != step
        if self._noisy and first and step % max(self._anchor_every, 1) == 0:
            self._anchor = step
        self.evaluations.append(Evaluation(step, sigma, self._flow_time(sigma), compact(x)))

    def end_evaluation(self, denoised: torch.Tensor) -> None:
        """Note what the sampler gets."""
        self._watch.answered(denoised)
        self.evaluations[-1].denoised = compact(denoised)

    def call(
        self, key: Hashable, network: torch.nn.Module, run: Callable[[], Any],
        compiled: torch.nn.Module | None = None, x: torch.Tensor | None = None,
    ) -> Any:  # fmt: skip
        """Compute and record one network call."""
        self.network = network
        self._compiled = compiled is not None
        entry = network if compiled is None else compiled
        forward = entry.forward

        def recorded(*args: Any, **kwargs: Any) -> Any:
            return self._computed(key, network, forward, args, kwargs)

        with swapped({entry: recorded}, self._compiled):
            result = run()
        if isinstance(result, torch.Tensor):
            self._watch.called(result)
        return result

    def close(self) -> Recorder:
        """End the run; the record stays."""
        self._features.clear()
        return self

    def trajectory(self, seed: int, final: torch.Tensor) -> Trajectory:
        """What was recorded of a run that ended with `final`."""
        course = replace(course_of(self._sigmas, self._flow_time, self._rehearsal), stochastic=self._noisy)
        times = tuple(self._flow_time(sigma) for sigma in self._sigmas)
        return Trajectory(
            seed, tuple(self._sigmas), times, self.evaluations, self._noisy, self.stages, final.detach().cpu(), course
        )

    @property
    def _noisy(self) -> bool:
        return self._rehearsal.adds_noise if self._rehearsal else bool(self._watch.stochastic)

    def _computed(self, key: Hashable, network: torch.nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        evaluation = self.evaluations[-1]
        key = (key, id(network), len(evaluation.outputs))
        stages = self._stages.of(network)
        partial = None
        if stages and evaluation.step == self._anchor:
            stream = self._features.start(key)
            with swapped(StageCall(stages, stream, self._features).remembering(), self._compiled):
                output = forward(*args, **kwargs)
        else:
            remembered = self._features.get(key) if stages and self._anchor is not None else None
            if remembered is not None:
                # The network may use up what it is given.
                partial = self._timed(evaluation, "partial_ms", lambda: self._partial(stages, remembered, forward,
                                      _again(args), _again(kwargs)))  # fmt: skip
            with self._stages.watching(network):
                output = self._timed(evaluation, "full_ms", lambda: forward(*args, **kwargs))
        evaluation.outputs.append(each_tensor(compact, output))
        if partial is not None and isinstance(output, torch.Tensor) and self._anchor is not None:
            errors = evaluation.partial.setdefault(self._anchor, [])
            errors.append(compact(partial - output))
        return output

    def _partial(self, stages: Any, stream: Stream, forward: Any, args: Any, kwargs: Any) -> Any:
        with swapped(StageCall(stages, stream, self._features).reusing(), self._compiled):
            return forward(*args, **kwargs)

    def _timed(self, evaluation: Evaluation, name: str, compute: Callable[[], Any]) -> Any:
        _wait()
        started = time.perf_counter()
        result = compute()
        _wait()
        passed = (time.perf_counter() - started) * 1000
        if name == "full_ms":
            evaluation.full_ms += passed
        else:
            evaluation.partial_ms += passed
        return result


def record(
    sample: Sample, seed: int, families: dict[str, Family] | None = None, anchor_every: int = 0
) -> tuple[Trajectory, torch.nn.Module]:
    """Make one full run and return its record, and the network."""
    recorders: list[Recorder] = []

    def make(facts: RunFacts) -> Recorder:
        recorders.append(Recorder(facts, families, anchor_every))
        return recorders[-1]

    final = sample(make, seed, None)
    if not recorders or recorders[-1].network is None:
        raise FRDiffError("Auto-FR had nothing to calibrate: the sampler did not call the model.")
    return recorders[-1].trajectory(seed, final), recorders[-1].network


def compact(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU, in the network's own precision, so that replaying it is exact."""
    return tensor.detach().to("cpu", copy=True)


def each_tensor(change: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """A value with each of its tensors changed, in whatever containers."""
    if isinstance(value, torch.Tensor):
        return change(value)
    return type(value)(each_tensor(change, part) for part in value)


def _again(value: Any) -> Any:
    """The same tensors in new containers."""
    if isinstance(value, dict):
        return {key: _again(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_again(item) for item in value)
    return value


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
