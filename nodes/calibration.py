"""The Auto-FR nodes: calibrate a model, and load what was calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..frdiff.auto_fr.calibrate import EFFORTS
from ..frdiff.errors import FRDiffError
from ..frdiff.schedule_files.calibrated import UncalibratedSchedule, calibrated
from ..frdiff.schedule_files.choice import BY_SPEED, Wish, chosen, front, measured, words
from ..frdiff.schedule_files.model import ScheduleFile
from ..frdiff.schedule_files.store import read_schedule
from .calibration_request import SEED_MAX, Request
from .calibration_run import run_calibration
from .host.network import network_id_of_model
from .inputs import CATEGORY, ScheduleType, wish_inputs
from .panel.fronts import show_front
from .panel.live import node_id, prompt_server
from .schedule_folder import AUTO, file_names, file_to_go_on, find_file, fitting_file, stamp

MORE_PROMPTS = ("positive_2", "positive_3", "positive_4")
KEPT = "Measured on {pictures} pictures and kept in models/frdiff as {name}."
TAKEN = "Goes by {name}."
NONE_FITS = "No file in models/frdiff fits this model and sampler: the uncalibrated dial is used at {speedup:g}x."


class FRDiffAutoFR(io.ComfyNode):
    """Calibrates a model with a few of its own runs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        (speedup, *chosen_by) = wish_inputs()
        return io.Schema(
            node_id="FRDiffAutoFR",
            display_name="FRDiff Auto-FR",
            category=CATEGORY,
            description="Finds out, from runs of your model with your settings, how near to the uncached picture each "
            "speed is.",
            inputs=[
                io.Model.Input("model", tooltip="The model to calibrate, with its LoRAs."),
                io.Conditioning.Input("positive", tooltip="A prompt like the ones you will use."),
                io.Conditioning.Input("negative", tooltip="The negative prompt that goes with it."),
                io.Latent.Input("latent_image", tooltip="An empty latent of the size you will use."),
                io.Int.Input(
                    "seed", default=0, min=0, max=SEED_MAX, control_after_generate=False,
                    tooltip="The first of the seeds that are used.",
                ),
                io.Int.Input("steps", default=20, min=5, max=1000, tooltip="The number of denoising steps."),
                io.Float.Input(
                    "cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="How closely to follow."
                ),
                io.Combo.Input(
                    "sampler_name", options=comfy.samplers.KSampler.SAMPLERS, tooltip="The sampling algorithm."
                ),
                io.Combo.Input(
                    "scheduler", options=comfy.samplers.KSampler.SCHEDULERS, tooltip="How noise is taken away."
                ),
                io.Combo.Input(
                    "effort", options=list(EFFORTS),
                    tooltip="How many pictures are compared, and what that costs: "
                    + ", ".join(f"{name} {e.pictures} ({e.most_runs} runs)" for name, e in EFFORTS.items())
                    + ". More make surer what is said of errors.",
                ),
                io.String.Input(
                    "name", default=AUTO,
                    tooltip="The name of the file in models/frdiff; auto makes one of the model and the settings.",
                ),
                speedup,
                *(
                    io.Conditioning.Input(more, optional=True, tooltip="Another prompt, so that not one decides alone.")
                    for more in MORE_PROMPTS
                ),
                *chosen_by,
                io.Vae.Input(
                    "vae", optional=True, tooltip="Errors are then PSNR of pictures; without it, of latents."
                ),
                io.Clip.Input("clip", optional=True, tooltip="Encodes `prompts`."),
                io.String.Input(
                    "prompts", default="", multiline=True, optional=True,
                    tooltip="More prompts, one a line; the more kinds of pictures, the surer what is said.",
                ),
            ],
            outputs=[ScheduleType.Output(display_name="schedule", tooltip="For the `schedule` input of FRDiff nodes.")],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, positive, negative, latent_image, seed, steps, cfg, sampler_name, scheduler, effort, name, speedup,
        **more: Any,
    ) -> io.NodeOutput:  # fmt: skip
        request = Request(
            model, positive, negative, latent_image, seed, steps, cfg, sampler_name, scheduler, effort, name, speedup,
            **more,
        )  # fmt: skip
        effort = EFFORTS[request.effort]
        path, known = file_to_go_on(request.title, request.key)
        if known is None or known.done < effort.pictures:
            known = run_calibration(
                request, path, known, lambda text: _say(text, node_id(cls)), lambda file: show_front(cls, file)
            )
        show_front(cls, known)
        return _answered(cls, KEPT.format(pictures=known.pictures, name=known.name), known, request.wish)


class FRDiffScheduleLoader(io.ComfyNode):
    """Loads a calibration; the dial moves over all its speeds."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        (speedup, *chosen_by) = wish_inputs()
        return io.Schema(
            node_id="FRDiffScheduleLoader",
            display_name="FRDiff Schedule Loader",
            category=CATEGORY,
            description="Loads what FRDiff Auto-FR has measured, at the speed or the error that you choose.",
            inputs=[
                io.Combo.Input(
                    "file", options=[AUTO, *file_names()],
                    tooltip="From models/frdiff; auto takes the newest that fits the model and the sampler.",
                ),
                speedup,
                *chosen_by,
                io.Model.Input("model", optional=True, tooltip="The model that will sample, so that auto can choose."),
            ],
            outputs=[ScheduleType.Output(display_name="schedule", tooltip="For the `schedule` input of FRDiff nodes.")],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo, io.Hidden.prompt],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, file: str, **others: Any) -> Any:
        return (file, stamp())

    @classmethod
    def execute(
        cls, file: str, speedup: float, by: str = BY_SPEED, decibels: float = 35.0, model: Any = None
    ) -> io.NodeOutput:
        wish = Wish(speedup, by, decibels)
        if file == AUTO:
            known = cls._fitting(model)
            if known is None:
                text = NONE_FITS.format(speedup=speedup)
                _say(text, node_id(cls))
                return io.NodeOutput(UncalibratedSchedule("dial", speedup=speedup), ui={"text": [text]})
            show_front(cls, known)
        else:
            known = read_schedule(find_file(file))
        return _answered(cls, TAKEN.format(name=known.name), known, wish)

    @classmethod
    def _fitting(cls, model: Any) -> ScheduleFile | None:
        if model is None:
            raise FRDiffError("With the file on auto, connect the model that will sample to `model`, or choose a file.")
        hidden = getattr(cls, "hidden", None)
        sampler = sampler_after(getattr(hidden, "prompt", None) or {}, node_id(cls))
        return fitting_file(network_id_of_model(model), sampler)


def sampler_after(prompt: Mapping[str, Any], node: str | None) -> str | None:
    """The sampler of the node that takes another's schedule, None where it is not known."""
    for each in prompt.values():
        inputs = each.get("inputs", {})
        source, sampler = inputs.get("schedule"), inputs.get("sampler_name")
        if isinstance(source, list) and str(source[0]) == node and isinstance(sampler, str):
            return sampler
    return None


def describe(file: ScheduleFile, wish: Wish) -> str:
    """What a file says, in a few lines, for those who see no plot."""
    made = file.provenance
    first = (
        f"{file.name}: {made.network.cls.rsplit('.', 1)[-1]}, {made.sampler}/{made.scheduler}, {file.steps} steps, "
        f"cfg {made.cfg:g}, {made.date}"
    )
    rows = [measured(point, file) for point in front(file.points)]
    return "\n".join([first, *rows, *file.notes, f"Here: {words(file, wish)}"])


def unplotted(file: ScheduleFile, wish: Wish) -> list[str]:
    """What the plot on the node does not say: why nothing is skipped, and what was seen besides while measuring."""
    return [*([] if chosen(file, wish).point else [words(file, wish)]), *file.notes]


def _answered(node: Any, done: str, file: ScheduleFile, wish: Wish) -> io.NodeOutput:
    """The schedule that a wish means with a file; on the node is said what was done, and what its plot does not say."""
    _say("\n".join([done, *unplotted(file, wish)]), node_id(node))
    return io.NodeOutput(calibrated(file, wish), ui={"text": [describe(file, wish)]})


def _say(text: str, unique_id: str | None) -> None:
    """Write on a node while it is executed, where ComfyUI runs as a server."""
    server = prompt_server()
    if server is not None and unique_id is not None:
        server.send_progress_text(text, unique_id)
