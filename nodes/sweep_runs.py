"""The runs of a sweep: what is run, how long it takes, what it computes, and how far it is from the plain run."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from PIL import Image

from nodes import VAEDecode  # pyright: ignore[reportAttributeAccessIssue]  (ComfyUI's nodes.py, not this package)

from ..frdiff.blocks.stages import COST_WITHIN_BLOCKS
from ..frdiff.errors import FRDiffError
from ..frdiff.planning.presets import PRESETS
from ..frdiff.planning.schedule import Schedule
from ..frdiff.reasons import OTHER_CACHE
from ..frdiff.reporting.metrics import latent_error, psnr, ssim
from ..frdiff.reporting.report import RunReport
from ..frdiff.runtime.clock import wait_for
from .host.attach import OTHER_CACHES, attach, chosen
from .panel.comparison import MotionFigures, motion_of
from .panel.drawing import to_picture

COUNTER = "frdiff.sweep"
# Of a video's latents: (B, C, T, H, W).
VIDEO_DIMENSIONS = 5


@dataclass(frozen=True)
class Variant:
    """One run of the sweep: its name, its mark in the plot, its steps, and its schedule if it has one."""

    name: str
    series: str
    steps: int
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run gave: its row of the table, its first picture, and how often it was made."""

    variant: Variant
    row: dict[str, Any]
    picture: Image.Image
    repeats: int


@dataclass(frozen=True)
class Counted:
    """Evaluations of a run by kind; `known` is False where another cache decides what is computed."""

    kinds: dict[str, int]
    known: bool = True

    @property
    def amount(self) -> float | None:
        """What was computed, in full evaluations; None where that is not known."""
        return self.kinds["full"] + COST_WITHIN_BLOCKS * self.kinds["partial"] if self.known else None


@dataclass
class _Run:
    """A variant's runs: what it computed, how far it is from the plain one, and how long each of them took."""

    variant: Variant
    counted: Counted
    likeness: dict[str, float]
    motion: dict[str, float | None]
    picture: Image.Image
    times: list[float]

    @property
    def seconds(self) -> float:
        return statistics.median(self.times)


class Sweep:
    """Times and compares runs of one sampler; `tell` gets what is known after each of them."""

    def __init__(
        self, model: Any, vae: Any, sample: Callable[[Any, int], dict[str, Any]], repeats: int,
        tell: Callable[[list[Outcome]], None],
    ) -> None:  # fmt: skip
        self._model, self._vae, self._sample, self._repeats, self._tell = model, vae, sample, repeats, tell
        self._reference: tuple[torch.Tensor, torch.Tensor] | None = None
        self._runs: list[_Run] = []

    def run(self, variants: list[Variant], steps: int) -> list[Outcome]:
        """The plain run, the variants, and for each one a plain run with as many steps as compute as much."""
        plain = self._add(Variant("plain", "plain", steps))
        for variant in variants:
            computed = self._add(variant).counted.amount
            fewer = equal_cost_steps(steps, computed, plain.counted.amount)
            if fewer not in [run.variant.steps for run in self._runs if not run.variant.schedule]:
                self._add(Variant(f"plain, {fewer} step{'s' * (fewer > 1)}", "fewer steps", fewer))
        # In rounds: what else the machine does is for all of them.
        for _ in range(self._repeats - 1):
            for run in self._runs:
                run.times.append(self._timed(run.variant)[0])
                self._tell(self._outcomes)
        return self._outcomes

    @property
    def _outcomes(self) -> list[Outcome]:
        return [_outcome(run, self._runs[0]) for run in self._runs]

    def _add(self, variant: Variant) -> _Run:
        seconds, latent, counted = self._timed(variant)
        images, samples = VAEDecode().decode(self._vae, latent)[0], latent["samples"]
        if self._reference is None:
            self._reference = samples, images
        plain, plain_images = self._reference
        likeness = {
            "latent_error": latent_error(plain, samples), "psnr": psnr(plain_images, images),
            "ssim": ssim(plain_images, images),
        }  # fmt: skip
        motion = _motion(plain_images, samples, images)
        self._runs.append(_Run(variant, counted, likeness, motion, to_picture(images), [seconds]))
        self._tell(self._outcomes)
        return self._runs[-1]

    def _timed(self, variant: Variant) -> tuple[float, dict[str, Any], Counted]:
        """A run's seconds, its latent and what it computed."""
        reports: list[RunReport] = []
        counter = _Counter()
        attached = attach(self._model, variant.schedule, reports.append)
        if variant.schedule is None:
            attached.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, COUNTER, counter)
        wait_for(self._model.load_device)
        started = time.perf_counter()
        latent = self._sample(attached, variant.steps)
        wait_for(self._model.load_device)
        seconds = time.perf_counter() - started
        kinds = reports[-1].counts if reports else {"full": counter.evaluations, "partial": 0, "skip": 0}
        left = counter.other_cache or any(
            OTHER_CACHE in report.reasons or report.answered_elsewhere for report in reports
        )
        return seconds, latent, Counted(kinds, not left)


class _Counter:
    """Counts the evaluations of a run without a report, and sees whether another cache is at work."""

    def __init__(self) -> None:
        self.evaluations, self.other_cache = 0, False

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.evaluations += 1
        options = next((value for value in (*args, *kwargs.values()) if isinstance(value, dict)), {})
        self.other_cache |= OTHER_CACHES in options.get("transformer_options", {})
        return executor(*args, **kwargs)


def _outcome(run: _Run, plain: _Run) -> Outcome:
    repeated = len(run.times) > 1
    row = {
        "run": run.variant.name, "steps": run.variant.steps, **run.counted.kinds,
        "seconds": run.seconds, "speedup": _speedup(plain, run), **run.likeness, "computed": run.counted.amount,
        "seconds_least": min(run.times) if repeated else None, "seconds_most": max(run.times) if repeated else None,
        **run.motion,
    }  # fmt: skip
    return Outcome(run.variant, row, run.picture, len(run.times))


def _motion(plain: torch.Tensor, samples: torch.Tensor, images: torch.Tensor) -> dict[str, float | None]:
    """The figures of video, against the plain pictures; None where the latent has no frames."""
    videos = len(samples) if samples.ndim == VIDEO_DIMENSIONS else len(images)
    found = motion_of(plain, images, videos, pictures=True)
    return asdict(found) if found else dict.fromkeys(field.name for field in fields(MotionFigures))


def _speedup(plain: _Run, run: _Run) -> float:
    """The plain run's time over a run's, at most what the counts allow, however unsteady the times are."""
    full = run.counted.kinds["full"]
    # As in a report, what is not full may take no time at all.
    limit = plain.counted.kinds["full"] / full if full and run.counted.known else math.inf
    return min(plain.seconds / run.seconds, limit)


def equal_cost_steps(steps: int, computed: float | None, plain_computed: float | None) -> int:
    """Plain steps that compute as much as a run, or the part of a step more; all where that is not known."""
    if computed is None or not plain_computed:
        return steps
    return min(max(math.ceil(steps * computed / plain_computed - 1e-6), 1), steps)


def variants_of(dials: str, presets: str, schedule: Schedule | None, steps: int) -> list[Variant]:
    """The runs that were asked for; raises FRDiffError for a dial or a name that there is not."""
    variants = [
        Variant(f"dial {dial:g}", "dial", steps, chosen(dial, None)) for dial in map(_dial, _listed(dials)) if dial != 1
    ]
    for name in _listed(presets):
        if name not in PRESETS:
            raise FRDiffError(f"There is no preset {name!r}. There are: {', '.join(PRESETS)}.")
        variants.append(Variant(name, "schedule", steps, PRESETS[name]))
    if schedule is not None:
        variants.append(Variant(schedule.name, "schedule", steps, schedule))
    if not variants:
        raise FRDiffError("There is nothing to sweep: give dials above 1, presets or a schedule.")
    return variants


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


def _dial(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FRDiffError(f"{text!r} is not a number. Dials are numbers with commas, like 1.5, 2, 3.") from None
