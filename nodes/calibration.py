"""The Auto-FR nodes: calibrate a model, and load what was calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import torch
from comfy_api.latest import io

from ..frdiff.auto_fr.calibrate import Calibration
from ..frdiff.auto_fr.effort import EFFORTS
from ..frdiff.auto_fr.jobs import in_turn
from ..frdiff.schedule_files.calibrated import calibrated
from ..frdiff.schedule_files.model import ScheduleFile
from ..frdiff.schedule_files.store import read_schedule, write_schedule
from .calibration_request import SEED_MAX, Request, describe, origin
from .fingerprint import fingerprint
from .inputs import CATEGORY, ScheduleType
from .panel.fronts import show_front
from .panel.live import node_id, prompt_server
from .schedule_folder import NOTHING, file_names, find_file, free_path

MORE_PROMPTS = ("positive_2", "positive_3", "positive_4")


def _speedup_input() -> io.Input:
    return io.Float.Input(
        "speedup", default=2.0, min=1.0, max=10.0, step=0.1,
        tooltip="How many times faster the network should run; one calibration holds all speeds.",
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Made:
    """A finished calibration; neither the model nor the conditions are kept alive by it."""

    asked: dict[str, Any]
    path: Path

    def fits(self, request: Request) -> bool:
        """Whether a calibration of these inputs would be the same one again."""
        return self.asked == _asked(request) and self.path.is_file()


# The last calibration of each node: turning the dial executes the node, and must not calibrate again.
_LAST: dict[str | None, _Made] = {}


class FRDiffAutoFR(io.ComfyNode):
    """Calibrates a model with a few of its own runs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffAutoFR",
            display_name="FRDiff Auto-FR",
            category=CATEGORY,
            description="Finds out, from a few runs of your model, which steps to compute at every speed-up.",
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
                    tooltip="quick: about 3 ordinary runs. normal: about 40, judged on seeds of their own. "
                    "thorough: over 100, and some minutes more.",
                ),
                io.String.Input("name", default="my model", tooltip="The name of the file in models/frdiff."),
                _speedup_input(),
                *(
                    io.Conditioning.Input(more, optional=True, tooltip="Another prompt, so that not one decides alone.")
                    for more in MORE_PROMPTS
                ),
            ],
            outputs=[ScheduleType.Output(display_name="schedule", tooltip="For the `schedule` input of FRDiff nodes.")],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, positive, negative, latent_image, seed, steps, cfg, sampler_name, scheduler, effort, name, speedup,
        **more_prompts,
    ) -> io.NodeOutput:  # fmt: skip
        request = Request(
            model, positive, negative, latent_image, seed, steps, cfg, sampler_name, scheduler, effort, name, speedup,
            **more_prompts,
        )  # fmt: skip
        unique_id = node_id(cls)
        known = _LAST.get(unique_id)
        if known is not None and known.fits(request):
            file = read_schedule(known.path)
            show_front(cls, file)
        else:
            path = free_path(name)
            file = cls._calibrate(request, path)
            _LAST[unique_id] = _Made(_asked(request), path)
        _say("\n".join([origin(file), *file.notes]), unique_id)
        return io.NodeOutput(calibrated(file, speedup), ui={"text": [describe(file)]})

    @classmethod
    def _calibrate(cls, request: Request, path: Path) -> ScheduleFile:
        """Run the calibration; each better file is written and shown as soon as it is known."""
        bar = comfy.utils.ProgressBar(100)

        def progress(part: float, text: str) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update_absolute(int(100 * part))
            _say(text, node_id(cls))

        def keep(known: ScheduleFile) -> None:
            write_schedule(path, known)
            show_front(cls, known)

        calibration = Calibration(
            in_turn(request.sample), EFFORTS[request.effort], request.provenance(), path.stem, request.seed, progress
        )
        with torch.inference_mode():
            return calibration.run(keep)


class FRDiffScheduleLoader(io.ComfyNode):
    """Loads a calibration; the dial moves over its whole front."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffScheduleLoader",
            display_name="FRDiff Schedule Loader",
            category=CATEGORY,
            description="Loads a schedule that FRDiff Auto-FR has made, at the speed you choose.",
            inputs=[
                io.Combo.Input("file", options=file_names() or [NOTHING], tooltip="From models/frdiff, or shipped."),
                _speedup_input(),
            ],
            outputs=[ScheduleType.Output(display_name="schedule", tooltip="For the `schedule` input of FRDiff nodes.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str, speedup: float) -> Any:
        path = find_file(file)
        return (file, speedup, path.stat().st_mtime_ns if path.is_file() else None)

    @classmethod
    def execute(cls, file: str, speedup: float) -> io.NodeOutput:
        known = read_schedule(find_file(file))
        schedule = calibrated(known, speedup)
        _say("\n".join([origin(known), *known.notes]), node_id(cls))
        text = f"{describe(known)}\nAt this dial: {1 / schedule.point.cost:.2f}x"
        return io.NodeOutput(schedule, ui={"text": [text]})


def _say(text: str, unique_id: str | None) -> None:
    """Write on a node while it is executed, where ComfyUI runs as a server."""
    server = prompt_server()
    if server is not None and unique_id is not None:
        server.send_progress_text(text, unique_id)


def _asked(request: Request) -> dict[str, Any]:
    """What a calibration depends on: everything but the dial."""
    return {name: fingerprint(value) for name, value in vars(request).items() if name != "speedup"}
