"""The Auto-FR nodes: calibrate a model, and load what was calibrated."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io

from ..frdiff.auto_fr.calibrate import EFFORTS, Calibration
from ..frdiff.auto_fr.profile import MakeEngine
from ..frdiff.calibrated import calibrated
from ..frdiff.errors import FRDiffError
from ..frdiff.provenance import VERSION, Network, Provenance
from ..frdiff.schedule_file import SUFFIX, ScheduleFile, read_schedule, schedule_path, write_schedule
from .host import attach_engine
from .inputs import CATEGORY, ScheduleType
from .live import node_id, prompt_server

FOLDER = "frdiff"
SHIPPED = Path(__file__).resolve().parent.parent / "schedules"
SHIPPED_PREFIX = "shipped: "
NOTHING = "nothing calibrated yet"
MORE_PROMPTS = ("positive_2", "positive_3", "positive_4")
SEED_MAX = 0xFFFFFFFFFFFFFFFF

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER), is_default=True)
folder_paths.folder_names_and_paths[FOLDER][1].add(SUFFIX)


def _speedup_input() -> io.Input:
    return io.Float.Input(
        "speedup", default=2.0, min=1.0, max=10.0, step=0.1,
        tooltip="How many times faster the network should run; one calibration holds all speeds.",
    )  # fmt: skip


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
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, positive, negative, latent_image, seed, steps, cfg, sampler_name, scheduler, effort, name, speedup,
        **more_prompts,
    ) -> io.NodeOutput:  # fmt: skip
        path = _free_path(name)
        unique_id = node_id(cls)
        prompts = [positive, *(prompt for prompt in more_prompts.values() if prompt is not None)]
        bar = comfy.utils.ProgressBar(100)

        def progress(part: float, text: str) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update_absolute(int(100 * part))
            _say(text, unique_id)

        def sample(make: MakeEngine, run_seed: int, run_steps: int | None) -> torch.Tensor:
            return _sample(
                attach_engine(model, make, _nothing), run_seed & SEED_MAX, run_steps or steps, cfg, sampler_name,
                scheduler, prompts[(run_seed - seed) % len(prompts)], negative, latent_image,
            )  # fmt: skip

        made = provenance(model, sampler_name, scheduler, cfg, latent_image)
        calibration = Calibration(sample, EFFORTS[effort], made, path.stem, seed, progress=progress)
        with torch.inference_mode():
            file = calibration.run(lambda known: write_schedule(path, known))
        text = describe(file)
        _say(text, unique_id)
        return io.NodeOutput(calibrated(file, speedup), ui={"text": [text]})


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


def file_names() -> list[str]:
    """The files in models/frdiff, then the shipped ones."""
    own = {path.name for folder in _folders() for path in Path(folder).glob("*" + SUFFIX) if path.is_file()}
    return sorted(own) + [SHIPPED_PREFIX + path.stem for path in sorted(SHIPPED.glob("*" + SUFFIX))]


def find_file(name: str) -> Path:
    """The path that belongs to a name of `file_names`; raises FRDiffError for names that lead elsewhere."""
    if name == NOTHING:
        raise FRDiffError("There is no schedule file yet. Calibrate with FRDiff Auto-FR, or put one in models/frdiff.")
    if name.startswith(SHIPPED_PREFIX):
        return schedule_path(SHIPPED, name.removeprefix(SHIPPED_PREFIX))
    paths = [schedule_path(Path(folder), name) for folder in _folders()]
    return next((path for path in paths if path.is_file()), paths[0])


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


def _folders() -> list[str]:
    return folder_paths.get_folder_paths(FOLDER)


def _free_path(name: str) -> Path:
    """Where a new file goes: no file of the user's is written over."""
    folder = Path(_folders()[0])
    path = schedule_path(folder, name)
    number = 2
    while path.exists():
        path = schedule_path(folder, f"{path.stem if number == 2 else path.stem.rpartition(' ')[0]} {number}")
        number += 1
    return path


def _nothing(_: Any) -> None:
    pass
