"""The contract between a host and an engine: what a run is told, what a network call is, what an engine does.

Shapes, here and in all of the engine: B batch, C channels, H and W height and width, T tokens; N evaluations, S solver
steps, K remembered outputs, G steps of a gap, R runs, P conditions or points, M elements of a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch

from .forward_patch import Forward, swapped
from .sampler.noise_levels import LevelOf, noise_prediction_level
from .sampler.response import ImpulseResponse
from .tensors import device_of

# A latent is a tensor (B, C, ...), or a list of them where several are sampled as one, such as picture and sound.
Latent = torch.Tensor | Sequence[torch.Tensor]
Report_co = TypeVar("Report_co", covariant=True)


@dataclass(frozen=True)
class Part:
    """What is sampled before a run or after it, as a part of the same: nothing where there is none.

    `sigmas` are its noise levels with the one that it shares with the run, `response` is what its sampler makes of its
    outputs, None where that is not known.
    """

    sigmas: tuple[float, ...] = ()
    response: ImpulseResponse | None = None


@dataclass(frozen=True)
class RunFacts:
    """What is known when a sampling run starts.

    `sigmas` are its noise levels, from high to low, one more than there are steps. `level_of` says what else is known
    of a noise level. `region`, in the latent's shape, is 1 where the sampler is free, None where it is free
    everywhere. `response` is what the sampler makes of its outputs, None where only the run can show it.
    `other_cache` says that another cache is on the same model. `before` and `after` are the other parts where this is
    one of those that a run is sampled in; `whole` is a name that they all have, and no other run. `seconds_before` were
    spent on finding all this out: they are a part of what the run takes.
    """

    sigmas: Sequence[float]
    level_of: LevelOf = noise_prediction_level
    region: torch.Tensor | None = None
    response: ImpulseResponse | None = None
    other_cache: bool = False
    before: Part = Part()
    after: Part = Part()
    whole: str = ""
    seconds_before: float = 0.0

    @property
    def parts(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The noise levels of the part before and of the part after."""
        return self.before.sigmas, self.after.sigmas


@dataclass(frozen=True)
class NetworkCall:
    """One call of the network in an evaluation.

    `stream` says what it is about, such as its condition, and is the same in every evaluation, in every run. `run()`
    calls `network` once, through whatever the host puts around it. `x` is the latent that the call is about, as the
    sampler has it; None where that is not known. `shared` is what the host hands to this call and to others, where
    a network may keep what it needs for the next one. `compiled` is the module that stands for the network where torch
    compiled it as a whole. `elsewhere` says that the same was asked before, and about other parts of the latent.
    """

    stream: Hashable
    network: torch.nn.Module
    run: Callable[[], Any] = field(repr=False)
    x: Latent | None = field(default=None, repr=False)
    compiled: torch.nn.Module | None = None
    shared: Any = field(default=None, repr=False)
    elsewhere: bool = False

    @property
    def entry(self) -> torch.nn.Module:
        """The module whose `forward` is answered for."""
        return self.network if self.compiled is None else self.compiled

    @property
    def device(self) -> torch.device:
        """Where it is computed; weights may be kept elsewhere."""
        return device_of(self.x)

    def answered_by(self, forward: Forward) -> Any:
        """What `run()` returns when `forward` answers for the network."""
        with swapped({self.entry: forward}, self.compiled is not None):
            return self.run()


class Engine(Protocol[Report_co]):
    """What follows one sampling run, such as a session.

    The host calls `begin_evaluation`, then `call` for each network call, possibly from several threads, then
    `end_evaluation`, for each evaluation of the sampler; and `close` once, also when the run failed.
    """

    @property
    def looks_at_inputs(self) -> bool:
        """Whether streams have to be told apart by what calls are shown; that may wait for the device."""
        ...

    def reserve(self, output_bytes: int, stage_bytes: int) -> int:
        """The bytes that it expects to remember, when an evaluation's outputs and all stages take so many."""
        ...

    def begin_evaluation(self, sigma: float, x: object = None) -> None:
        """Start an evaluation at `sigma` with input `x` (B, C, ...); None where the guider bypasses the host's own.

        Samplers and guiders of other packs may pass anything; what is no latent is not looked at.
        """
        ...

    def call(self, call: NetworkCall) -> Any:
        """Answer one network call in full, in part or not at all: what `call.run()` returns."""
        ...

    def end_evaluation(self, denoised: object) -> None:
        """Note what the evaluation returned to the sampler, of the input's shape (B, C, ...) or whatever it is."""
        ...

    def close(self, finished: bool = True) -> Report_co:
        """End the run, forget everything, and return what is known of it."""
        ...


# Makes the engine of a run.
MakeEngine = Callable[[RunFacts], Engine[Any]]
# One sampling run with a seed and a number of steps, None for the usual one; returns the final latent (B, C, ...).
Sample = Callable[[MakeEngine, int, "int | None"], torch.Tensor]
