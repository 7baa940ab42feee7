"""Types and inputs that several nodes share."""

from dataclasses import fields
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..frdiff.errors import FRDiffError
from ..frdiff.schedule_files.choice import BY_SPEED, LEVELS, WAYS
from .panel.canvas import THEMES

CATEGORY = "FRDiff"
SEED_MAX = 0xFFFFFFFFFFFFFFFF

ScheduleType = io.Custom("FRDIFF_SCHEDULE")
ReportType = io.Custom("FRDIFF_REPORT")


def search_aliases(*words: str) -> dict[str, Any]:
    """The words by which a search is to find a node, for its schema; empty where the host's schemas have none."""
    return {"search_aliases": list(words)} if "search_aliases" in {field.name for field in fields(io.Schema)} else {}


def speedup_input() -> io.Input:
    """The one dial."""
    return io.Float.Input(
        "speedup",
        default=2.0,
        min=1.0,
        max=10.0,
        step=0.1,
        tooltip="How many times faster the network should run. 1.0 is off: every step is computed.",
    )


def wish_inputs() -> list[io.Input]:
    """The dial of a calibration, and whether it counts or an error does; all but the dial are optional."""
    return [
        speedup_input(),
        io.Combo.Input(
            "by", options=list(WAYS), default=BY_SPEED, optional=True,
            tooltip="speed: the dial above counts. "
            "error: as fast as it goes with nine of ten pictures at most 4 dB below: "
            + ", ".join(f"{name.removeprefix('error: ')} {level:g} dB" for name, level in LEVELS.items())
            + ", or the decibels below.",
        ),
        io.Float.Input(
            "decibels", default=35.0, min=0.0, max=100.0, step=1.0, optional=True,
            tooltip="By decibels: the PSNR that a picture should have to the uncached one; more is nearer.",
        ),
    ]  # fmt: skip


def schedule_input(tooltip: str = "A schedule from another FRDiff node. With it the dial is not used.") -> io.Input:
    """An optional schedule."""
    return ScheduleType.Input("schedule", optional=True, tooltip=tooltip)


def theme_input() -> io.Input:
    """The colours of a plot that is given on as a picture; on the node it has the page's."""
    return io.Combo.Input(
        "theme", options=list(THEMES), default="light", optional=True, tooltip="The colours of the plot's picture."
    )


def sampler_inputs(seed: str, *before_seed: io.Input) -> list[io.Input]:
    """From `model` to `latent_image`, in the host's own order; `seed` is the seed's id."""
    return [
        io.Model.Input("model", tooltip="The model used for denoising the input latent."),
        *before_seed,
        io.Int.Input(
            seed, default=0, min=0, max=SEED_MAX, control_after_generate=True, tooltip="The seed that makes the noise."
        ),
        io.Int.Input("steps", default=20, min=1, max=10000, tooltip="The number of denoising steps."),
        io.Float.Input(
            "cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="How closely to follow the prompt."
        ),
        io.Combo.Input("sampler_name", options=comfy.samplers.KSampler.SAMPLERS, tooltip="The sampling algorithm."),
        io.Combo.Input("scheduler", options=comfy.samplers.KSampler.SCHEDULERS, tooltip="How noise is taken away."),
        io.Conditioning.Input("positive", tooltip="What the picture should show."),
        io.Conditioning.Input("negative", tooltip="What the picture should not show."),
        io.Latent.Input("latent_image", tooltip="The latent to denoise."),
    ]


def one_latent(latent: dict[str, Any], node: str, advice: str) -> Any:
    """The samples of a LATENT for a node that takes one tensor; raises FRDiffError where there are several or none."""
    samples = latent["samples"]
    if samples.is_nested:
        raise FRDiffError(f"{node} takes no latent of several parts, such as picture and sound together. {advice}")
    if not samples.numel():
        raise FRDiffError(f"{node} got an empty latent, of shape {tuple(samples.shape)}. Connect one with a picture.")
    return samples
