"""Attach the engine to a ComfyUI model: the host's wrappers on one side, an Engine on the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from comfy import model_management
from comfy.patcher_extension import WrappersMP
from comfy.sampler_helpers import prepare_mask
from comfy.utils import unpack_latents

from ...frdiff.engine import Engine, MakeEngine, NetworkCall, Part, RunFacts
from ...frdiff.errors import FRDiffError
from ...frdiff.planning.presets import EVERY_STEP, for_speedup
from ...frdiff.planning.schedule import Schedule
from ...frdiff.reporting.report import RunReport
from ...frdiff.runtime.budget import HostMemory, is_out_of_memory
from ...frdiff.runtime.session import Session
from ...frdiff.tensors import is_plain
from .identity import Streams, condition_names
from .network import model_name, network_id_of_model
from .noise_levels import noise_levels_of
from .parts import Cut, Parts
from .rehearse import rehearse
from .reserve import reserving

KEY = "frdiff"
# Where the host's EasyCache and LazyCache leave their state.
OTHER_CACHES = "easycache"

# Which run goes on from which.
PARTS = Parts()

TellReport = Callable[[RunReport], None]
Observe = Callable[[Session], None]


def chosen(speedup: float, schedule: Schedule | None) -> Schedule | None:
    """The schedule of a run; None when the dial is off and no schedule is given."""
    by_dial = for_speedup(speedup)
    return schedule if schedule is not None else (None if speedup == 1 else by_dial)


def attach(model: Any, schedule: Schedule | None, tell: TellReport, observe: Observe = lambda session: None) -> Any:
    """Return a clone of a MODEL whose sampling runs go through a Session; a previous attachment is replaced.

    Without a schedule nothing is attached and everything is computed. `tell` receives the report when a run ends,
    `observe` the session at each evaluation.
    """
    if not hasattr(model, "add_wrapper_with_key"):
        raise FRDiffError("The input `model` is not a diffusion model. Connect the MODEL output of a loader.")
    if schedule is None:
        return attach_engine(model, None, tell)
    note = schedule.accept(lambda: network_id_of_model(model))
    # Newer hosts know more errors for lack of memory than torch's own class.
    memory = HostMemory(model_management.soft_empty_cache, getattr(model_management, "is_oom", is_out_of_memory))

    def session(facts: RunFacts) -> Session:
        # Two caches that do not know of each other would repeat each other's repetitions.
        run = Session(EVERY_STEP if facts.other_cache else schedule, facts, memory, observe)
        run.report.model = model_name(model)
        if note:
            run.report.add_reason(note)
        return run

    return attach_engine(model, session, tell, schedule.options.needs_response)


def attach_engine(model: Any, make: MakeEngine | None, tell: Callable[[Any], None], rehearses: bool = True) -> Any:
    """Like `attach`, with any engine; `tell` receives what its `close` returns."""
    patched = model.clone()
    patched.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    if make is not None:
        patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _outer_sample(make, tell, rehearses))
    return patched


def _outer_sample(make: MakeEngine, tell: Callable[[Any], None], rehearses: bool) -> Callable[..., Any]:
    def outer_sample(
        executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, denoise_mask: Any = None,
        *args: Any, **kwargs: Any,
    ) -> Any:  # fmt: skip
        started, guider = time.perf_counter(), executor.class_obj
        # The guider's options are a copy made for this run, so what is added here ends with it.
        options = guider.model_options.setdefault("transformer_options", {})
        cut = PARTS.cut_of(sigmas, noise, latent_image)
        facts = _facts_of(guider, sampler, sigmas, cut, noise.shape, rehearses)
        region, other_cache = _region(denoise_mask, noise), OTHER_CACHES in options
        seconds = time.perf_counter() - started
        engine = make(replace(facts, region=region, other_cache=other_cache, seconds_before=seconds))
        # Those of picture and sound, which come as one row of numbers.
        shapes = kwargs.get("latent_shapes") or [noise.shape]
        wrappers = _RunWrappers(engine, condition_names(guider))
        wrappers.add_to(options.setdefault("wrappers", {}), shapes)
        finished = False
        try:
            result = executor(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)
            finished = True
            PARTS.left(cut, result)
            return result
        finally:
            tell(engine.close(finished))

    return outer_sample


def _facts_of(
    guider: Any, sampler: Any, sigmas: torch.Tensor, cut: Cut, shape: torch.Size, rehearses: bool
) -> RunFacts:  # fmt: skip
    """What a sampler will do on noise levels (N,) and in the parts that they are cut out between."""
    model = guider.model_patcher

    def rehearsed(levels: torch.Tensor) -> Any:
        return rehearse(sampler, levels, model, guider, shape) if rehearses else None

    response = rehearsed(sigmas)

    def part(levels: tuple[float, ...]) -> Part:
        # Where nothing is known of the run itself, asking again would be in vain.
        return Part(levels, rehearsed(sigmas.new_tensor(levels)) if response and levels else None)

    return RunFacts(
        sigmas.tolist(), noise_levels_of(model), response=response, before=part(cut.before), after=part(cut.after),
        whole=cut.whole,
    )  # fmt: skip


def _region(mask: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor | None:
    """The inpainting mask in the latent's shape; earlier hosts bring it into that shape only later."""
    return mask if mask is None or mask.shape == noise.shape else prepare_mask(mask, noise.shape, noise.device)


class _RunWrappers:
    """The host's wrappers of one run: what they see becomes the engine's evaluations and calls."""

    def __init__(self, engine: Engine[Any], names: Mapping[Any, str]) -> None:
        self._engine = engine
        self._streams = Streams(names)
        self._evaluations_seen = False
        self._called_at: float | None = None

    def add_to(self, wrappers: dict[str, dict[str, list[Any]]], shapes: Any) -> None:
        """Add them to a run's own; `shapes` are those of the latent's parts."""
        wrappers.setdefault(WrappersMP.PREDICT_NOISE, {})[KEY] = [self.predict_noise]
        wrappers.setdefault(WrappersMP.PREPARE_SAMPLING, {})[KEY] = [reserving(self._engine, shapes)]
        innermost = wrappers.setdefault(WrappersMP.APPLY_MODEL, {})
        # The last key is the innermost wrapper.
        innermost.pop(KEY, None)
        innermost[KEY] = [self.apply_model]

    def predict_noise(self, executor: Any, x: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """One evaluation of the sampler."""
        sigma = _noise_level(timestep)
        if sigma is None:
            # No level that is known here: the calls of the network will say.
            return executor(x, timestep, *args, **kwargs)
        self._evaluations_seen = True
        self._begin(sigma, x)
        denoised = executor(x, timestep, *args, **kwargs)
        self._engine.end_evaluation(denoised)
        return denoised

    def apply_model(
        self, executor: Any, x: torch.Tensor, t: torch.Tensor, c_concat: Any = None, c_crossattn: Any = None,
        control: Any = None, transformer_options: Any = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """One call of the network."""
        level = _noise_level(t)
        if level is None:
            return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
        if not self._evaluations_seen and self._called_at != level:
            # A guider of another pack calls the model itself, once or more at each noise level.
            self._called_at = level
            self._begin(level)
        model = executor.class_obj
        options = {} if transformer_options is None else transformer_options
        entered = model.diffusion_model
        network = getattr(entered, "_orig_mod", entered)

        def run() -> Any:
            # Networks take residuals out of the lists, and a call that ran out of memory is made again.
            lists = control and {name: list(residuals) for name, residuals in control.items()}
            return executor(x, t, c_concat, c_crossattn, lists, options, **kwargs)

        conditioning = (c_crossattn, kwargs) if self._engine.looks_at_inputs else None
        stream, elsewhere = self._streams.of(x, level, options, control, model, network, conditioning)
        # The network is given each part of the latent by itself.
        latent = unpack_latents(x, kwargs["latent_shapes"]) if "latent_shapes" in kwargs else x
        compiled = None if entered is network else entered
        return self._engine.call(NetworkCall(stream, network, run, latent, compiled, options, elsewhere))

    def _begin(self, sigma: float, x: object = None) -> None:
        self._streams.begin(sigma, x)
        self._engine.begin_evaluation(sigma, x)


def _noise_level(timestep: Any) -> float | None:
    """The highest of some noise levels; None where there are none."""
    if isinstance(timestep, (int, float)):
        return float(timestep)
    if not is_plain(timestep):
        return None
    # Not torch's own maximum: of a number or two it costs more than all the rest of a step's bookkeeping.
    return max(timestep.flatten().tolist()) if timestep.ndim else float(timestep)
