"""Attach the engine to a ComfyUI model: the host's wrappers on one side, a Session on the other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any

import torch
from comfy import model_management
from comfy.model_sampling import CONST
from comfy.patcher_extension import WrappersMP
from comfy.sampler_helpers import prepare_mask
from comfy.utils import unpack_latents

from ...frdiff.engine import RunFacts, default_flow_time
from ...frdiff.errors import FRDiffError
from ...frdiff.planning.presets import EVERY_STEP, for_speedup
from ...frdiff.planning.schedule import Schedule
from ...frdiff.reporting.report import RunReport
from ...frdiff.runtime.budget import is_out_of_memory
from ...frdiff.runtime.session import Session
from .network import network_of_model
from .rehearse import rehearse
from .reserve import reserving

KEY = "frdiff"
# Where the host's EasyCache and LazyCache leave their state.
OTHER_CACHES = "easycache"

OTHER_CACHE = "EasyCache or LazyCache is on the same model, and skipping is left to it. Remove it to use FRDiff."

TellReport = Callable[[RunReport], None]
MakeEngine = Callable[[RunFacts], Any]
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
    note = schedule.accept(lambda: network_of_model(model))

    def session(facts: RunFacts) -> Session:
        run = Session(
            # Two caches that do not know of each other would repeat each other's repetitions.
            EVERY_STEP if facts.other_cache else schedule,
            facts.sigmas,
            facts.flow_time,
            region=facts.region,
            rehearsal=facts.rehearsal,
            scales=facts.scales,
            free_memory=model_management.soft_empty_cache,
            # Newer hosts know more of such errors than torch's own class.
            is_out_of_memory=getattr(model_management, "is_oom", is_out_of_memory),
            observe=observe,
        )
        for reason in (note, OTHER_CACHE if facts.other_cache else None):
            if reason:
                run.report.add_reason(reason)
        return run

    return attach_engine(model, session, tell, schedule.needs_rehearsal)


def attach_engine(model: Any, make: MakeEngine | None, tell: Callable[[Any], None], rehearses: bool = True) -> Any:
    """Like `attach`, with anything that has a Session's methods; `tell` receives what its `close` returns."""
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
        guider = executor.class_obj
        # The guider's options are a copy made for this run, so what is added here ends with it.
        options = guider.model_options.setdefault("transformer_options", {})
        facts = RunFacts(
            sigmas.tolist(),
            flow_time_of(guider.model_patcher),
            _region(denoise_mask, noise),
            rehearse(sampler, sigmas, guider.model_patcher) if rehearses else None,
            scales_of(guider.model_patcher),
            OTHER_CACHES in options,
        )
        session = make(facts)
        # Those of picture and sound, which come as one row of numbers.
        shapes = kwargs.get("latent_shapes") or [noise.shape]
        _add_run_wrappers(options.setdefault("wrappers", {}), session, shapes, condition_names(guider))
        try:
            result = executor(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)
            session.report.finished = True
            return result
        finally:
            tell(session.close())

    return outer_sample


def _region(mask: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor | None:
    """The inpainting mask in the latent's shape; earlier hosts bring it into that shape only later."""
    return mask if mask is None or mask.shape == noise.shape else prepare_mask(mask, noise.shape, noise.device)


def flow_time_of(model: Any) -> Callable[[float], float]:
    """How a MODEL's sigma becomes flow time, `noise / (noise + data)`, from the way it adds noise."""
    sampling = model.get_model_object("model_sampling")

    @cache
    def flow_time(sigma: float) -> float:
        noise, data = sampling.noise_scaling(_levels(sigma), _FIRST, _SECOND).tolist()
        if noise or not sigma:
            return noise / (noise + data)
        # From picture to picture: such a model starts from data, and its sigma is the time itself if it is a flow.
        return sigma if isinstance(sampling, CONST) else default_flow_time(sigma)

    return flow_time


def scales_of(model: Any) -> Callable[[float], tuple[float, float]]:
    """How much a unit of a MODEL's input and of its raw output count in the denoised latent."""
    calculate = model.get_model_object("model_sampling").calculate_denoised

    @cache
    def scales(sigma: float) -> tuple[float, float]:
        of_input, of_output = calculate(_levels(sigma), _SECOND, _FIRST).tolist()
        return of_input, of_output

    return scales


# Batches of two numbers as latents: a unit in the first alone, and in the second.
_FIRST, _SECOND = torch.eye(2, dtype=torch.float64)


def _levels(sigma: float) -> torch.Tensor:
    return torch.full((2,), sigma, dtype=torch.float64)


def condition_names(guider: Any) -> dict[Any, str]:
    """What a guider's conditions are called in every run, by the ids that the host draws anew for each."""
    conditions = getattr(guider, "conds", None)
    if not isinstance(conditions, dict):
        # A guider of another pack; its conditions have other names in every run.
        return {}
    return {each["uuid"]: f"{name} {i}" for name, listed in conditions.items() for i, each in enumerate(listed or ())
            if isinstance(each, dict) and "uuid" in each}  # fmt: skip


def _add_run_wrappers(
    wrappers: dict[str, dict[str, list[Any]]], session: Any, shapes: Any, names: Mapping[Any, str]
) -> None:
    evaluations_seen, called_at = False, None

    def predict_noise(executor: Any, x: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal evaluations_seen
        evaluations_seen = True
        session.begin_evaluation(_noise_level(timestep), x)
        denoised = executor(x, timestep, *args, **kwargs)
        session.end_evaluation(denoised)
        return denoised

    def apply_model(
        executor: Any, x: torch.Tensor, t: torch.Tensor, c_concat: Any = None, c_crossattn: Any = None,
        control: Any = None, transformer_options: Any = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        nonlocal called_at
        if not evaluations_seen and called_at != _noise_level(t):
            # A guider of another pack calls the model itself, once or more at each noise level.
            called_at = _noise_level(t)
            session.begin_evaluation(called_at)
        model = executor.class_obj
        options = {} if transformer_options is None else transformer_options
        entered = model.diffusion_model
        network = getattr(entered, "_orig_mod", entered)

        def run() -> Any:
            # Networks take residuals out of the lists, and a call that ran out of memory is made again.
            lists = control and {name: list(residuals) for name, residuals in control.items()}
            return executor(x, t, c_concat, c_crossattn, lists, options, **kwargs)

        compiled = None if entered is network else entered
        # The network is given each part of the latent by itself.
        latent = unpack_latents(x, kwargs["latent_shapes"]) if "latent_shapes" in kwargs else x
        return session.call(stream_key(x, options, control, model, names), network, run, compiled, latent)

    wrappers.setdefault(WrappersMP.PREDICT_NOISE, {})[KEY] = [predict_noise]
    # An engine that only records has no budget.
    if hasattr(session, "reserve"):
        wrappers.setdefault(WrappersMP.PREPARE_SAMPLING, {})[KEY] = [reserving(session, shapes)]
    innermost = wrappers.setdefault(WrappersMP.APPLY_MODEL, {})
    # The last key is the innermost wrapper.
    innermost.pop(KEY, None)
    innermost[KEY] = [apply_model]


def _noise_level(timestep: torch.Tensor) -> float:
    # Not torch's own maximum: of a number or two it costs more than all the rest of a step's bookkeeping.
    return max(timestep.flatten().tolist())


def stream_key(
    x: torch.Tensor, options: dict[str, Any], control: Any, model: Any, names: Mapping[Any, str] | None = None
) -> Hashable:
    """What makes two calls comparable: conditions, shape, device, window, attention patches, hooks and control.

    With `names` of the conditions it is the same in every run.
    """
    window = options.get("context_window")
    patches = options.get("patches_replace", {})
    return (
        tuple((names or {}).get(uuid, uuid) for uuid in options.get("uuids", ())),
        tuple(options.get("cond_or_uncond", ())),
        x.shape,
        x.device,
        tuple(window.index_list) if window is not None else None,
        tuple(sorted(f"{name} {place}" for name, places in patches.items() for place in places)) if patches else (),
        _hook_strengths(model),
        # A ControlNet outside its range gives nothing, and the network another output.
        tuple(sorted(name for name, given in control.items() if any(r is not None for r in given))) if control else (),
    )


def _hook_strengths(model: Any) -> Hashable:
    """The weights' state: which hooks are in them, and how strongly at this step."""
    hooks = getattr(model.current_patcher, "current_hooks", None)
    return tuple((hook, hook.strength) for hook in hooks.hooks) if hooks is not None else ()
