"""What FRDiff Auto-FR is asked for, as sampling runs of the host."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import comfy.model_management
import comfy.sample
import torch

from ..frdiff.auto_fr.calibrate import EFFORTS, FastRun
from ..frdiff.errors import FRDiffError
from ..frdiff.planning.schedule import Schedule
from ..frdiff.reasons import OTHER_CACHE
from ..frdiff.reporting.metrics import latent_error, psnr_of_each
from ..frdiff.reporting.report import RunReport
from ..frdiff.runtime.session import Session
from ..frdiff.schedule_files.choice import BY_SPEED, Wish
from ..frdiff.schedule_files.model import LATENT, PICTURE, VERSION, Provenance, ScheduleFile
from ..frdiff.schedule_files.model import decibels as decibels_of
from .fingerprint import fingerprint
from .host.attach import attach
from .host.network import model_name, network_id_of_model
from .host.noise_levels import noise_levels_of
from .inputs import one_latent
from .schedule_folder import AUTO

SEED_MAX = 0xFFFFFFFFFFFFFFFF
UNCALIBRATED = "Use the dial of FRDiff KSampler, which needs no calibration."
TWO_CACHES = "Auto-FR cannot calibrate a model with another cache on it: remove EasyCache or LazyCache first."
NOTHING_SAMPLED = "Auto-FR had nothing to calibrate: the sampler did not call the model."

# The step that was made, how many there are, and the denoised latent (B, C, ...) so far.
Tick = Callable[[int, int, torch.Tensor], None]


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
    by: str = BY_SPEED
    decibels: float = 35.0
    vae: Any = None
    clip: Any = None
    prompts: str = ""

    @property
    def wish(self) -> Wish:
        """What is to come out of it."""
        return Wish(self.speedup, self.by, self.decibels)

    @property
    def title(self) -> str:
        """The file's name: that of the node, or the model's and the setting's."""
        if self.name != AUTO:
            return self.name
        setting = f"{self.sampler_name} {self.scheduler} {self.steps} cfg {self.cfg:g}"
        name = f"{model_name(self.model)} {setting}"
        return "".join(c if c.isascii() and (c.isalnum() or c in " _.-") else "-" for c in name)

    @cached_property
    def key(self) -> str:
        """The same where the same would be measured again, of however many pictures."""
        effort = EFFORTS[self.effort]
        patches = (self.model.model_options, getattr(self.model, "object_patches", {}))
        measured = (effort.speedups, effort.fewer)
        setting = (self.seed, self.steps, self.cfg, self.sampler_name, self.scheduler)
        seen = (self.all_prompts, self.negative, self.latent_image, self.vae is None)
        return fingerprint([vars(network_id_of_model(self.model)), patches, measured, setting, seen])

    @cached_property
    def all_prompts(self) -> list[Any]:
        """The prompts, in the order in which they take turns."""
        connected = [self.positive, self.positive_2, self.positive_3, self.positive_4]
        lines = [line.strip() for line in self.prompts.splitlines() if line.strip()]
        if lines and self.clip is None:
            raise FRDiffError("FRDiff Auto-FR has prompts as text: connect `clip`, which encodes them, or remove them.")
        encoded = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(line)) for line in lines]
        return [*(prompt for prompt in connected if prompt is not None), *encoded]

    def latent(self) -> torch.Tensor:
        """An empty latent (B, C, ...) gets the channels of the model."""
        samples = one_latent(self.latent_image, "FRDiff Auto-FR", UNCALIBRATED)
        return comfy.sample.fix_empty_latent_channels(self.model, samples)

    def new_file(self, name: str) -> ScheduleFile:
        """A file in which nothing is measured yet."""
        prediction = getattr(getattr(self.model.model, "model_type", None), "name", "unknown")
        size = "x".join(str(length) for length in self.latent().shape[1:])
        made = Provenance(
            network_id_of_model(self.model), prediction, self.sampler_name, self.scheduler, self.cfg, size, VERSION,
            datetime.date.today().isoformat(),
        )  # fmt: skip
        return ScheduleFile(name, (), (), made, LATENT if self.vae is None else PICTURE, key=self.key)


class HostRuns:
    """The runs of a calibration: the host's own sampling, as FRDiff KSampler makes it."""

    def __init__(self, request: Request, tick: Tick) -> None:
        self._request = request
        self._tick = tick

    def plain(self, number: int, steps: int | None = None) -> torch.Tensor:
        """The final latent (B, C, ...) of an ordinary run, or of one with so many steps."""
        return self._sampled(attach(self._request.model, None, _nothing), number, steps)

    def fast(self, number: int, schedule: Schedule) -> FastRun:
        """A run as users make it."""
        reports: list[RunReport] = []
        sessions: list[Session] = []
        model = attach(self._request.model, schedule, reports.append, sessions.append)
        result = self._sampled(model, number)
        counts = reports[-1].counts if reports else {}
        if reports and OTHER_CACHE in reports[-1].reasons:
            raise FRDiffError(TWO_CACHES)
        if not counts.get("full") or not sessions:
            raise FRDiffError(NOTHING_SAMPLED)
        level_of = noise_levels_of(self._request.model)
        times = tuple(level_of(sigma).time for sigma in sessions[-1].sigmas)
        return FastRun(result, counts["full"] / sum(counts.values()), times, bool(reports[-1].stochastic))

    def levels(self, results: list[torch.Tensor], truth: torch.Tensor) -> list[tuple[float, ...]]:
        """For each result (B, C, ...) the decibels of its B pictures, or latents without a VAE."""
        if self._request.vae is None:
            return [
                tuple(decibels_of(latent_error(*pair)) for pair in zip(truth.split(1), result.split(1), strict=True))
                for result in results
            ]
        known = self._pictures(truth)
        return [tuple(psnr_of_each(self._pictures(result), known).tolist()) for result in results]

    def _pictures(self, latent: torch.Tensor) -> torch.Tensor:
        """What the VAE makes of a latent (B, C, ...), in rows (B, M): of videos, all their frames."""
        return self._request.vae.decode(latent).nan_to_num().cpu().reshape(len(latent), -1)

    def _sampled(self, model: Any, number: int, steps: int | None = None) -> torch.Tensor:
        """The host's KSampler with the prompts in turn, and a seed for each number: (B, C, ...) on the CPU."""
        asked = self._request
        seed = (asked.seed + number) & SEED_MAX
        samples = asked.latent()
        noise = comfy.sample.prepare_noise(samples, seed, asked.latent_image.get("batch_index"))
        final = comfy.sample.sample(
            model, noise, steps or asked.steps, asked.cfg, asked.sampler_name, asked.scheduler,
            asked.all_prompts[number % len(asked.all_prompts)], asked.negative, samples,
            noise_mask=asked.latent_image.get("noise_mask"), callback=self._stepped, disable_pbar=True, seed=seed,
        )  # fmt: skip
        return final.detach().float().cpu()

    def _stepped(self, step: int, x0: torch.Tensor, x: torch.Tensor, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._tick(step + 1, total, x0)


def _nothing(_: Any) -> None:
    pass
