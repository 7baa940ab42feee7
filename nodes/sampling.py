"""Drop-in replacements for the host's KSampler nodes."""

from __future__ import annotations

import time
from typing import Any

from comfy_api.latest import io

from nodes import common_ksampler  # pyright: ignore[reportAttributeAccessIssue]  (ComfyUI's nodes.py, not this package)

from ..frdiff.reasons import DIAL_OFF, NOTHING_TO_SAMPLE
from ..frdiff.reporting.report import RunReport
from .host.attach import attach, chosen
from .host.network import model_name
from .inputs import CATEGORY, ReportType, sampler_inputs, schedule_input, search_aliases, speedup_input
from .panel.live import StepMap


def _outputs() -> list[io.Output]:
    return [
        io.Latent.Output(tooltip="The denoised latent."),
        ReportType.Output(display_name="report", tooltip="What was computed, for FRDiff Report."),
    ]


def _sample(
    node: Any, model: Any, speedup: float, schedule: Any, steps: int, *args: Any, **kwargs: Any
) -> io.NodeOutput:
    """Run the host's own sampling function with the engine attached."""
    reports: list[RunReport] = []
    step_map = StepMap(node, model=model)

    def tell(report: RunReport) -> None:
        reports.append(report)
        step_map.end(report)

    chosen_schedule = chosen(speedup, schedule)
    started = time.perf_counter()
    (latent,) = common_ksampler(attach(model, chosen_schedule, tell, step_map.observe), *args, **kwargs)
    if not reports:
        reason = DIAL_OFF if chosen_schedule is None else NOTHING_TO_SAMPLE
        seconds = time.perf_counter() - started
        tell(RunReport("off", steps, seconds, finished=True, model=model_name(model), reasons=[reason]))
    return io.NodeOutput(latent, reports[-1])


class FRDiffKSampler(io.ComfyNode):
    """The host's KSampler with the dial."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffKSampler",
            display_name="FRDiff KSampler",
            category=CATEGORY,
            description="A faster KSampler: a cache of what the network said stands for steps that need not be "
            "computed. Replace KSampler by it, and turn the speedup dial.",
            **search_aliases("cache", "speed", "faster", "accelerate", "teacache"),
            inputs=[
                *sampler_inputs("seed"),
                io.Float.Input(
                    "denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Lower values keep the input picture."
                ),
                speedup_input(),
                schedule_input(),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(
        cls, model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise=1.0,
        speedup=2.0, schedule=None,
    ) -> io.NodeOutput:  # fmt: skip
        return _sample(
            cls, model, speedup, schedule, steps,
            seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise=denoise,
        )  # fmt: skip


class FRDiffKSamplerAdvanced(io.ComfyNode):
    """The host's KSamplerAdvanced with the dial."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffKSamplerAdvanced",
            display_name="FRDiff KSampler (Advanced)",
            category=CATEGORY,
            description="A faster KSampler (Advanced): a cache stands for steps that need not be computed.",
            **search_aliases("faster advanced sampler"),
            inputs=[
                *sampler_inputs(
                    "noise_seed",
                    io.Combo.Input("add_noise", options=["enable", "disable"], tooltip="Whether noise is added first."),
                ),
                io.Int.Input("start_at_step", default=0, min=0, max=10000, tooltip="The first step to run."),
                io.Int.Input("end_at_step", default=10000, min=0, max=10000, tooltip="The step to stop at."),
                io.Combo.Input(
                    "return_with_leftover_noise", options=["disable", "enable"],
                    tooltip="Whether noise may be left for a second sampler.",
                ),
                speedup_input(),
                schedule_input(),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, add_noise, noise_seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image,
        start_at_step, end_at_step, return_with_leftover_noise, speedup=2.0, schedule=None,
    ) -> io.NodeOutput:  # fmt: skip
        return _sample(
            cls, model, speedup, schedule, steps,
            noise_seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image,
            disable_noise=add_noise == "disable", start_step=start_at_step, last_step=end_at_step,
            force_full_denoise=return_with_leftover_noise == "disable",
        )  # fmt: skip
