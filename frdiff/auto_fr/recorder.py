"""Record full runs, compactly: what every network call answered, and what full and partial steps cost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

import torch

from ..blocks.families import Family
from ..blocks.network_stages import NetworkStages
from ..blocks.stages import Stage, StageCall, fetching_on_demand
from ..engine import NetworkCall, RunFacts, Sample
from ..errors import FRDiffError
from ..forward_patch import Forward, swapped
from ..planning.run import sampling_run
from ..sampler.noise_levels import step_of_sigma
from ..sampler.watch import SamplerWatch
from ..store import Store, Stream
from ..tensors import in_new_containers, map_tensors
from .timing import measures_stages, timed, timing
from .trajectory import RecordedEvaluation, Trajectory

OTHER_GUIDER = "Auto-FR cannot calibrate with this guider: it calls the model in a way of its own."
OTHER_CACHE = "Auto-FR cannot calibrate a model with another cache on it: remove EasyCache or LazyCache first."


class Recorder:
    """An engine that computes everything and remembers it.

    Once the sampler is seen to add noise, the stages are kept every `anchor_every` steps, and the steps between are
    also computed in part, which tells the error and the time of a partial step. The sampler gets the full result.

    The host may answer the conditions of a step from several threads, each with its own network: `_lock` guards what
    they add to an evaluation, and the watch.
    """

    looks_at_inputs = True

    def __init__(
        self, facts: RunFacts, families: Mapping[str, Family] | None = None, anchor_every: int = 0
    ) -> None:
        if facts.other_cache:
            raise FRDiffError(OTHER_CACHE)
        self._facts = facts
        self._sigmas = [float(sigma) for sigma in facts.sigmas]
        self._stages = NetworkStages(families, inner=True)
        self._anchor_every = anchor_every
        self._store = Store(float("inf"), history=1)
        self._lock = threading.Lock()
        self._anchor: int | None = None
        self._compiled = False
        self._watch = SamplerWatch(facts.region)
        self.evaluations: list[RecordedEvaluation] = []

    @property
    def stages(self) -> int:
        """How many stages the network has."""
        return len(self._stages.most)

    def reserve(self, output_bytes: int, stage_bytes: int) -> int:
        """Nothing: what is recorded goes to the CPU, and stages are few."""
        return 0

    def begin_evaluation(self, sigma: float, x: object = None) -> None:
        """Start an evaluation with input `x` (B, C, ...)."""
        if not isinstance(x, torch.Tensor):
            raise FRDiffError(OTHER_GUIDER)
        self._watch.arrived(x)
        step = step_of_sigma(sigma, self._sigmas)
        first = not self.evaluations or self.evaluations[-1].step != step
        if self._stochastic and first and step % max(self._anchor_every, 1) == 0:
            self._anchor = step
        self.evaluations.append(RecordedEvaluation(step, sigma, self._facts.level_of(sigma).time, compact(x)))

    def end_evaluation(self, denoised: object) -> None:
        """Note what the sampler gets, (B, C, ...)."""
        if not isinstance(denoised, torch.Tensor):
            raise FRDiffError(OTHER_GUIDER)
        self._watch.answered(denoised)
        self.evaluations[-1].denoised = compact(denoised)

    def call(self, call: NetworkCall) -> Any:
        """Compute and record one network call."""
        self._compiled = call.compiled is not None
        forward = call.entry.forward

        def recorded(*args: Any, **kwargs: Any) -> Any:
            return self._computed(call, forward, args, kwargs)

        result = call.answered_by(recorded)
        with self._lock:
            self._watch.called(result)
        return result

    def close(self, finished: bool = True) -> Recorder:
        """End the run; the record stays."""
        self._store.clear()
        return self

    def trajectory(self, seed: int, final: torch.Tensor) -> Trajectory:
        """What was recorded of a run that ended with `final` (B, C, ...)."""
        run = sampling_run(self._sigmas, self._facts.level_of, self._facts.response)
        times = tuple(self._facts.level_of(sigma).time for sigma in self._sigmas)
        for evaluation in self.evaluations:
            # In whatever order threads came.
            evaluation.outputs = _sorted(evaluation.outputs)
            evaluation.partial = {keyframe: _sorted(errors) for keyframe, errors in evaluation.partial.items()}
        return Trajectory(
            seed, tuple(self._sigmas), times, self.evaluations, self._stochastic, self.stages, compact(final),
            replace(run, stochastic=self._stochastic),
        )  # fmt: skip

    @property
    def _stochastic(self) -> bool:
        return self._facts.response.stochastic if self._facts.response else bool(self._watch.stochastic)

    def _computed(self, call: NetworkCall, forward: Forward, args: Any, kwargs: Any) -> Any:
        evaluation, anchor = self.evaluations[-1], self._anchor
        stages = self._stages.of(call.network)
        key, partial = (call.stream, id(call.network)), None
        if stages and evaluation.step == anchor:
            stream = self._store.start(key)
            with swapped(StageCall(stages, stream, self._store).remembering(), self._compiled):
                output = forward(*args, **kwargs)
        else:
            remembered = self._store.get(key) if stages and anchor is not None else None
            if remembered is not None:
                partial, partial_ms = timed(lambda: self._partial(stages, remembered, forward, args, kwargs), args)
                with self._lock:
                    evaluation.partial_ms += partial_ms
            output = self._full(evaluation, call.network, lambda: forward(*args, **kwargs), args)
        evaluation.outputs[call.stream] = map_tensors(compact, output)
        if partial is not None and isinstance(output, torch.Tensor) and anchor is not None:
            with self._lock:
                evaluation.partial.setdefault(anchor, {})[call.stream] = compact(partial - output)
        return output

    def _full(
        self, evaluation: RecordedEvaluation, network: torch.nn.Module, compute: Callable[[], Any], given: Any
    ) -> Any:
        def note(path: str, passed: float) -> None:
            with self._lock:
                evaluation.stage_ms[path] = evaluation.stage_ms.get(path, 0.0) + passed

        measured = self._stages.of(network) if measures_stages(evaluation.step) else ()
        with self._stages.watching(network), swapped(timing(measured, note), self._compiled):
            output, passed = timed(compute, given)
        with self._lock:
            evaluation.full_ms += passed
        return output

    def _partial(self, stages: tuple[Stage, ...], stream: Stream, forward: Forward, args: Any, kwargs: Any) -> Any:
        with swapped(StageCall(stages, stream, self._store).reusing(), self._compiled):
            # The network may use up what it is given.
            return forward(*in_new_containers(args), **fetching_on_demand(in_new_containers(kwargs)))


def record(
    sample: Sample, seed: int, families: Mapping[str, Family] | None = None, anchor_every: int = 0
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
    """A copy of the same shape on the CPU, in the network's own precision, so that replaying it is exact."""
    return tensor.detach().to("cpu", copy=True)


def _sorted(named: dict[Hashable, Any]) -> dict[Hashable, Any]:
    """The same in the order of the names as texts, because names are not all of one type."""
    return dict(sorted(named.items(), key=lambda item: repr(item[0])))
