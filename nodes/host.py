"""Attach the engine to a ComfyUI model: the host's wrappers on one side, a Session on the other."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP

from ..frdiff.errors import FRDiffError
from ..frdiff.presets import for_speedup
from ..frdiff.report import RunReport
from ..frdiff.schedule import Schedule
from ..frdiff.session import Session

KEY = "frdiff"

ChooseSchedule = Callable[[int], Schedule]
TellReport = Callable[[RunReport], None]


def chooser(speedup: float, schedule: Schedule | None) -> ChooseSchedule | None:
    """How a run of so many steps gets its schedule; None when the dial is off and no schedule is given."""
    for_speedup(speedup, steps=1)
    if schedule is not None:
        return lambda steps: schedule
    return None if speedup == 1 else lambda steps: for_speedup(speedup, steps)


def attach(model: Any, choose: ChooseSchedule | None, tell: TellReport) -> Any:
    """Return a clone of a MODEL whose sampling runs go through a Session; a previous attachment is replaced.

    `choose` gives the schedule for a number of steps, None computes everything with nothing attached.
    `tell` receives the report when a run ends.
    """
    if not hasattr(model, "add_wrapper_with_key"):
        raise FRDiffError("The input `model` is not a diffusion model. Connect the MODEL output of a loader.")
    patched = model.clone()
    patched.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    if choose is not None:
        patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _outer_sample(choose, tell))
    return patched


def _outer_sample(choose: ChooseSchedule, tell: TellReport) -> Callable[..., Any]:
    def outer_sample(
        executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, *args: Any, **kwargs: Any
    ) -> Any:
        session = Session(choose(max(len(sigmas) - 1, 1)), sigmas.tolist())
        # The guider's options are a copy made for this run, so what is added here ends with it.
        options = executor.class_obj.model_options.setdefault("transformer_options", {})
        _add_run_wrappers(options.setdefault("wrappers", {}), session)
        try:
            return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        finally:
            tell(session.close())

    return outer_sample


def _add_run_wrappers(wrappers: dict[str, dict[str, list[Any]]], session: Session) -> None:
    evaluations_seen = False

    def predict_noise(executor: Any, x: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal evaluations_seen
        evaluations_seen = True
        session.begin_evaluation(float(timestep.max()))
        return executor(x, timestep, *args, **kwargs)

    def apply_model(executor: Any, x: torch.Tensor, t: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not evaluations_seen:
            # A guider of another pack calls the model itself.
            session.begin_evaluation(float(t.max()))
        options = kwargs.get("transformer_options") or (args[3] if len(args) > 3 else {})
        network = executor.class_obj.diffusion_model
        network = getattr(network, "_orig_mod", network)
        return session.call(stream_key(x, options), network, lambda: executor(x, t, *args, **kwargs))

    wrappers.setdefault(WrappersMP.PREDICT_NOISE, {})[KEY] = [predict_noise]
    innermost = wrappers.setdefault(WrappersMP.APPLY_MODEL, {})
    # The last key is the innermost wrapper.
    innermost.pop(KEY, None)
    innermost[KEY] = [apply_model]


def stream_key(x: torch.Tensor, options: dict[str, Any]) -> Hashable:
    """What makes two calls comparable: conditions, shape, context window and attention patches."""
    window = options.get("context_window")
    patches = options.get("patches_replace", {})
    return (
        tuple(options.get("uuids", ())),
        tuple(options.get("cond_or_uncond", ())),
        tuple(x.shape),
        tuple(window.index_list) if window is not None else None,
        tuple(sorted(f"{name} {place}" for name, places in patches.items() for place in places)),
    )
