"""The Auto-FR nodes: calibrate a model, and load what was calibrated."""

from __future__ import annotations

import datetime
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy_api.latest import io

from ..frdiff.auto_fr.calibrate import EFFORTS, Calibration
from ..frdiff.auto_fr.profile import MakeEngine
from ..frdiff.calibrated import calibrated
from ..frdiff.provenance import VERSION, Network, Provenance
from ..frdiff.schedule_file import ScheduleFile, read_schedule, write_schedule
from .files import NOTHING, file_names, find_file, free_path
from .fronts import show_front
from .host import attach_engine
from .inputs import CATEGORY, ScheduleType
from .live import node_id, prompt_server

MORE_PROMPTS = ("positive_2", "positive_3", "positive_4")
SEED_MAX = 0xFFFFFFFFFFFFFFFF


def _speedup_input() -> io.Input:
    return io.Float.Input(
        "speedup", default=2.0, min=1.0, max=10.0, step=0.1,
        tooltip="How many times faster the network should run; one calibration holds all speeds.",
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Made:
    """A finished calibration; the model is not kept alive by it."""

    model: weakref.ref
    inputs: dict[str, Any]
    path: Path

    def fits(self, model: Any, inputs: dict[str, Any]) -> bool:
        """Whether a calibration of these inputs would be the same one again: ComfyUI keeps objects that it reuses."""
        same = self.inputs.keys() == inputs.keys() and all(_is_same(self.inputs[key], inputs[key]) for key in inputs)
        return same and self.model() is model and self.path.is_file()


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
        inputs = {
            "positive": positive, "negative": negative, "latent_image": latent_image, "seed": seed, "steps": steps,
            "cfg": cfg, "sampler_name": sampler_name, "scheduler": scheduler, "effort": effort, "name": name,
            **more_prompts,
        }  # fmt: skip
        unique_id = node_id(cls)
        known = _LAST.get(unique_id)
        if known is not None and known.fits(model, inputs):
            file = read_schedule(known.path)
            show_front(cls, file)
        else:
            path = free_path(name)
            file = cls._calibrate(model, path, inputs)
            _LAST[unique_id] = _Made(weakref.ref(model), inputs, path)
        text = describe(file)
        _say(text, unique_id)
        return io.NodeOutput(calibrated(file, speedup), ui={"text": [text]})

    @classmethod
    def _calibrate(cls, model: Any, path: Path, inputs: dict[str, Any]) -> ScheduleFile:
        """Run the calibration; each better file is written and shown as soon as it is known."""
        prompts = [inputs["positive"], *(inputs[more] for more in MORE_PROMPTS if inputs.get(more) is not None)]
        bar = comfy.utils.ProgressBar(100)

        def progress(part: float, text: str) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update_absolute(int(100 * part))
            _say(text, node_id(cls))

        def sample(make: MakeEngine, run_seed: int, run_steps: int | None) -> torch.Tensor:
            return _sample(
                attach_engine(model, make, _nothing), run_seed & SEED_MAX, run_steps or inputs["steps"], inputs["cfg"],
                inputs["sampler_name"], inputs["scheduler"], prompts[(run_seed - inputs["seed"]) % len(prompts)],
                inputs["negative"], inputs["latent_image"],
            )  # fmt: skip

        def keep(known: ScheduleFile) -> None:
            write_schedule(path, known)
            show_front(cls, known)

        made = provenance(
            model, inputs["sampler_name"], inputs["scheduler"], inputs["cfg"], inputs["latent_image"]
        )  # fmt: skip
        calibration = Calibration(
            sample, EFFORTS[inputs["effort"]], made, path.stem, inputs["seed"], progress=progress
        )  # fmt: skip
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
        text = f"{describe(known)}\nAt this dial: {1 / schedule.point.cost:.2f}x"
        _say(text, node_id(cls))
        return io.NodeOutput(schedule, ui={"text": [text]})


def describe(file: ScheduleFile) -> str:
    """What a file is, in a few lines for its node."""
    made = file.provenance
    fastest = max(1 / point.cost for point in file.points)
    rows = [
        f"{file.name}: {made.network.cls.rsplit('.', 1)[-1]}, {made.sampler}/{made.scheduler}, {file.steps} steps, "
        f"up to {fastest:.1f}x, {made.date}"
    ]
    for point in file.points:
        if point.error is not None and point.prior_error is not None:
            better = "better" if point.source == "calibrated" else "not better, so the uncalibrated schedule is used"
            rows.append(
                f"{1 / point.cost:.2f}x: error {point.error:.4f}, uncalibrated {point.prior_error:.4f}: {better}"
            )
    return "\n".join([*rows, *file.notes])


def provenance(model: Any, sampler: str, scheduler: str, cfg: float, latent: dict[str, Any]) -> Provenance:
    """Where a calibration comes from, before its network has been seen."""
    prediction = getattr(getattr(model.model, "model_type", None), "name", "unknown")
    size = "x".join(str(length) for length in latent["samples"].shape[1:])
    today = datetime.date.today().isoformat()
    return Provenance(Network("", "", ""), prediction, sampler, scheduler, cfg, size, 0, VERSION, today)


def _sample(
    model: Any, seed: int, steps: int, cfg: float, sampler: str, scheduler: str, positive: Any, negative: Any,
    latent: dict[str, Any],
) -> torch.Tensor:  # fmt: skip
    """The host's KSampler without its preview: the progress bar is the calibration's."""
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    return comfy.sample.sample(
        model, noise, steps, cfg, sampler, scheduler, positive, negative, samples,
        noise_mask=latent.get("noise_mask"), disable_pbar=True, seed=seed,
    )  # fmt: skip


def _say(text: str, unique_id: str | None) -> None:
    """Write on a node while it is executed, where ComfyUI runs as a server."""
    server = prompt_server()
    if server is not None and unique_id is not None:
        server.send_progress_text(text, unique_id)


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, int | float | str) and a == b)


def _nothing(_: Any) -> None:
    pass
