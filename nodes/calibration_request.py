"""What FRDiff Auto-FR is asked for, as sampling runs of the host."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.sample
import torch

from ..frdiff.auto_fr.calibrate import HELD_OUT
from ..frdiff.engine import MakeEngine
from ..frdiff.schedule_files.model import CALIBRATED, VERSION, Provenance, ScheduleFile
from .host.attach import attach_engine
from .host.network import network_id_of_model
from .inputs import one_latent

SEED_MAX = 0xFFFFFFFFFFFFFFFF
UNCALIBRATED = "Use the dial of FRDiff KSampler, which needs no calibration."


@dataclass(frozen=True)
class Request:
    """The inputs of the node FRDiffAutoFR."""

    model: Any
    positive: Any
    negative: Any
    latent_image: dict[str, Any]
    seed: int
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    effort: str
    name: str
    speedup: float
    positive_2: Any = None
    positive_3: Any = None
    positive_4: Any = None

    def sample(self, make: MakeEngine, seed: int, steps: int | None) -> torch.Tensor:
        """The host's KSampler, with the prompts in turn, without its preview: the progress is the calibration's."""
        model = attach_engine(self.model, make, _nothing)
        samples = self._latent()
        noise = comfy.sample.prepare_noise(samples, seed & SEED_MAX, self.latent_image.get("batch_index"))
        return comfy.sample.sample(
            model, noise, steps or self.steps, self.cfg, self.sampler_name, self.scheduler,
            self._prompt(seed - self.seed), self.negative, samples,
            noise_mask=self.latent_image.get("noise_mask"), callback=_stop_if_cancelled, disable_pbar=True,
            seed=seed & SEED_MAX,
        )  # fmt: skip

    def provenance(self) -> Provenance:
        """Where the calibration comes from, before its stages are known."""
        prediction = getattr(getattr(self.model.model, "model_type", None), "name", "unknown")
        size = "x".join(str(length) for length in self._latent().shape[1:])
        today = datetime.date.today().isoformat()
        network = network_id_of_model(self.model)
        return Provenance(network, prediction, self.sampler_name, self.scheduler, self.cfg, size, 0, VERSION, today)

    def _prompt(self, run: int) -> Any:
        """The prompts in turn; of several the last is kept for judging, which begins with it."""
        prompts = [p for p in (self.positive, self.positive_2, self.positive_3, self.positive_4) if p is not None]
        if run < HELD_OUT:
            return prompts[run % max(len(prompts) - 1, 1)]
        return prompts[-1 - (run - HELD_OUT) % len(prompts)]

    def _latent(self) -> torch.Tensor:
        """An empty latent gets the channels of the model."""
        samples = one_latent(self.latent_image, "FRDiff Auto-FR", UNCALIBRATED)
        return comfy.sample.fix_empty_latent_channels(self.model, samples)


def describe(file: ScheduleFile) -> str:
    """What a file is, in a few lines, for those who see no plot."""
    made = file.provenance
    first = f"{file.name}: {origin(file)}, {made.sampler}/{made.scheduler}, {file.steps} steps"
    return "\n".join([first, *front_lines(file), *file.notes])


def origin(file: ScheduleFile) -> str:
    """What the plot on a node does not say of a file: the network, how fast it can be, and when it was made."""
    made = file.provenance
    fastest = max(1 / point.cost for point in file.points)
    return f"{made.network.cls.rsplit('.', 1)[-1]}, up to {fastest:.1f}x, {made.date}"


def front_lines(file: ScheduleFile) -> list[str]:
    """The measured points of a file, a line each."""
    rows = []
    for point in file.points:
        if point.error is not None and point.prior_error is not None:
            better = "better" if point.source == CALIBRATED else "not better, so the uncalibrated schedule is used"
            errors = f"error {point.error * 100:.2g} %, uncalibrated {point.prior_error * 100:.2g} %"
            rows.append(f"{1 / point.cost:.2f}x: {errors}: {better}")
    return rows


def _stop_if_cancelled(*_: Any) -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


def _nothing(_: Any) -> None:
    pass
