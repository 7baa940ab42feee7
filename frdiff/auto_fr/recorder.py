"""Record full runs, compactly: what every network call answered, and what full and partial steps cost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

import torch

from ..blocks.discovery import Stages
from ..blocks.families import Family
from ..blocks.stages import StageCall
from ..engine import RunFacts
from ..errors import FRDiffError
from ..forward_patch import swapped
from ..planning.schedule import course_of
from ..reporting.report import RunReport
from ..runtime.follower import step_index
from ..runtime.ordinals import Ordinals
from ..sampler.watch import SolverWatch
from ..store import Features, Stream
from .host import Sample
from .timing import measures_stages, timed, timing
from .trajectory import Evaluation, Trajectory

OTHER_CACHE = "Auto-FR cannot calibrate a model with another cache on it: remove EasyCache or LazyCache first."


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
        self._ordinals = Ordinals()
        # The host may answer the conditions of a step from several threads, each with its own network.
        self._lock = threading.Lock()
        self._anchor: int | None = None
        self._compiled = False
        self._watch = SolverWatch(facts.region)
        self._rehearsal = facts.rehearsal
        self.report = RunReport("recording", len(self._sigmas) - 1)
        self.evaluations: list[Evaluation] = []

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
        self._ordinals.start()
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
        self._compiled = compiled is not None
        entry = network if compiled is None else compiled
        forward = entry.forward

        def recorded(*args: Any, **kwargs: Any) -> Any:
            return self._computed(key, network, forward, args, kwargs)

        with swapped({entry: recorded}, self._compiled):
            result = run()
        if isinstance(result, torch.Tensor):
            with self._lock:
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
        for evaluation in self.evaluations:
            # In whatever order threads came.
            evaluation.outputs = _sorted(evaluation.outputs)
            evaluation.partial = {keyframe: _sorted(errors) for keyframe, errors in evaluation.partial.items()}
        return Trajectory(
            seed, tuple(self._sigmas), times, self.evaluations, self._noisy, self.stages, final.detach().cpu(), course
        )

    @property
    def _noisy(self) -> bool:
        return self._rehearsal.adds_noise if self._rehearsal else bool(self._watch.stochastic)

    def _computed(self, key: Hashable, network: torch.nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        evaluation, anchor = self.evaluations[-1], self._anchor
        call = self._ordinals.numbered(key)
        stages = self._stages.of(network)
        place, partial = (call, id(network)), None
        if stages and evaluation.step == anchor:
            stream = self._features.start(place)
            with swapped(StageCall(stages, stream, self._features).remembering(), self._compiled):
                output = forward(*args, **kwargs)
        else:
            remembered = self._features.get(place) if stages and anchor is not None else None
            if remembered is not None:
                # The network may use up what it is given.
                partial, partial_ms = timed(lambda: self._partial(stages, remembered, forward, _again(args),
                                                                  _again(kwargs)), args)  # fmt: skip
                with self._lock:
                    evaluation.partial_ms += partial_ms
            output = self._full(evaluation, network, lambda: forward(*args, **kwargs), args)
        evaluation.outputs[call] = each_tensor(compact, output)
        if partial is not None and isinstance(output, torch.Tensor) and anchor is not None:
            with self._lock:
                evaluation.partial.setdefault(anchor, {})[call] = compact(partial - output)
        return output

    def _full(self, evaluation: Evaluation, network: torch.nn.Module, compute: Callable[[], Any], given: Any) -> Any:
        def note(path: str, passed: float) -> None:
            with self._lock:
                evaluation.stage_ms[path] = evaluation.stage_ms.get(path, 0.0) + passed

        measured = self._stages.of(network) if measures_stages(evaluation.step) else ()
        with self._stages.watching(network), swapped(timing(measured, note), self._compiled):
            output, passed = timed(compute, given)
        with self._lock:
            evaluation.full_ms += passed
        return output

    def _partial(self, stages: Any, stream: Stream, forward: Any, args: Any, kwargs: Any) -> Any:
        with swapped(StageCall(stages, stream, self._features).reusing(), self._compiled):
            return forward(*args, **kwargs)


def record(
    sample: Sample, seed: int, families: dict[str, Family] | None = None, anchor_every: int = 0
) -> Trajectory:
    """Make one full run and return its record."""
    recorders: list[Recorder] = []

    def make(facts: RunFacts) -> Recorder:
        recorders.append(Recorder(facts, families, anchor_every))
        return recorders[-1]

    final = sample(make, seed, None)
    if not recorders or not any(evaluation.outputs for evaluation in recorders[-1].evaluations):
        raise FRDiffError("Auto-FR had nothing to calibrate: the sampler did not call the model.")
    return recorders[-1].trajectory(seed, final)


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


def _sorted(named: dict[Hashable, Any]) -> dict[Hashable, Any]:
    """The same in the order of the names as texts, because names are not all of one type."""
    return dict(sorted(named.items(), key=lambda item: repr(item[0])))
