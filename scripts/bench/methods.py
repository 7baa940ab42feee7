"""The methods that the benchmark compares: a table from name to a function that makes a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch

from setup import ScriptError

from .timing import Run

FRACTIONS = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2)
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.5)
DIALS = (2, 3)

PLAIN = "plain"
EVERY_STEP = "every step computed"
# What an own method has to beat at equal time: the host's own means, and the method as published.
ALTERNATIVES = ("fewer", "EasyCache", "LazyCache", "paper")


@dataclass(frozen=True)
class Case:
    """What all runs of one comparison share; `latent` is the empty latent, its batch the pictures of a run."""

    host: Any
    presets: Mapping[str, Any]
    model: Any
    negative: Any
    latent: torch.Tensor
    steps: int
    sampler: str
    cfg: float
    scheduler: str = "normal"

    def of(self, pictures: int) -> Case:
        """The same with so many pictures in a run, of one empty latent (1, C, ...)."""
        return replace(self, latent=self.latent.expand(pictures, *self.latent.shape[1:]))


@dataclass(frozen=True)
class Method:
    """One method: the family whose points are swept together, and how it makes a run for a case."""

    family: str
    make: Callable[[Case], Run]


def table(presets: Sequence[str]) -> dict[str, Method]:
    """Every method by name; `presets` are the names of the pack's schedules."""
    return {
        PLAIN: Method(PLAIN, fewer_steps(1.0)),
        **{f"fewer {fraction:g}": Method("fewer", fewer_steps(fraction)) for fraction in FRACTIONS},
        **{f"EasyCache {limit:g}": Method("EasyCache", core_cache("EasyCache", limit)) for limit in THRESHOLDS},
        **{f"LazyCache {limit:g}": Method("LazyCache", core_cache("LazyCache", limit)) for limit in THRESHOLDS},
        **{name: Method("paper" if name.startswith("paper ") else "preset", preset(name)) for name in presets},
        **{f"dial@{speedup}": Method("dial", dial(speedup)) for speedup in DIALS},
    }


def chosen(methods: Mapping[str, Method], patterns: Sequence[str]) -> dict[str, Method]:
    """The methods whose name or family matches one of the patterns (as for file names), and always the plain one.

    Raises ScriptError when a pattern matches nothing.
    """
    for pattern in patterns:
        if not any(_matches(name, method, pattern) for name, method in methods.items()):
            raise ScriptError(f"No method matches {pattern!r}. There are: {', '.join(methods)}.")
    return {
        name: method
        for name, method in methods.items()
        if name == PLAIN or any(_matches(name, method, pattern) for pattern in patterns)
    }


def _matches(name: str, method: Method, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or method.family == pattern


def fewer_steps(fraction: float) -> Callable[[Case], Run]:
    """ComfyUI's own sampling with a fraction of the case's steps."""

    def make(case: Case) -> Run:
        steps = max(1, round(case.steps * fraction))
        return lambda seed, positive: (_common_ksampler(case, case.model, steps, seed, positive), None)

    return make


def core_cache(node: str, threshold: float) -> Callable[[Case], Run]:
    """One of the core's caching nodes, with its defaults besides the threshold."""

    def make(case: Case) -> Run:
        cls = case.host.NODE_CLASS_MAPPINGS[node]
        model = cls.execute(case.model, threshold, start_percent=0.15, end_percent=0.95, verbose=False).result[0]
        return lambda seed, positive: (_common_ksampler(case, model, case.steps, seed, positive), None)

    return make


def preset(name: str) -> Callable[[Case], Run]:
    """FRDiff KSampler with a named schedule."""
    return lambda case: _frdiff_ksampler(case, schedule=case.presets[name])


def dial(speedup: float) -> Callable[[Case], Run]:
    """FRDiff KSampler as it comes, with nothing but its dial turned."""
    return lambda case: _frdiff_ksampler(case, speedup=float(speedup))


def _common_ksampler(case: Case, model: Any, steps: int, seed: int, positive: Any) -> torch.Tensor:
    latent = {"samples": case.latent}
    (out,) = case.host.common_ksampler(
        model, seed, steps, case.cfg, case.sampler, case.scheduler, positive, case.negative, latent
    )
    return out["samples"]


def _frdiff_ksampler(case: Case, **settings: Any) -> Run:
    node = case.host.NODE_CLASS_MAPPINGS["FRDiffKSampler"]

    def run(seed: int, positive: Any) -> tuple[torch.Tensor, Any]:
        common = (seed, case.steps, case.cfg, case.sampler, case.scheduler, positive, case.negative)
        latent, report = node.execute(case.model, *common, {"samples": case.latent}, 1.0, **settings).result
        return latent["samples"], report

    return run
