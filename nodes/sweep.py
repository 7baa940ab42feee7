"""The sweep node: the trade-off of speed and error on the user's own machine."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.utils
import torch
from comfy_api.latest import io, ui
from PIL import Image

from nodes import VAEDecode, common_ksampler  # pyright: ignore[reportAttributeAccessIssue]  (ComfyUI's nodes.py)

from ..frdiff.errors import FRDiffError
from ..frdiff.planning.presets import PRESETS
from ..frdiff.planning.schedule import Schedule
from ..frdiff.reporting.metrics import latent_error, psnr, ssim
from ..frdiff.reporting.report import RunReport
from ..frdiff.runtime.clock import wait_for
from .host.attach import attach, chosen
from .inputs import CATEGORY, one_latent, sampler_inputs, schedule_input
from .panel.drawing import Point, grid, speed_error_plot, to_image, to_picture
from .panel.live import node_id, show_outputs

WARM_UP_STEPS = 2
COLUMNS = ("run", "steps", "full", "partial", "skip", "seconds", "speedup", "latent_error", "psnr", "ssim")


@dataclass(frozen=True)
class Variant:
    """One run of the sweep: its name, its mark in the plot, its steps, and its schedule if it has one."""

    name: str
    series: str
    steps: int
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run gave: its row of the table and its first picture."""

    variant: Variant
    row: dict[str, Any]
    picture: Image.Image


class FRDiffSweep(io.ComfyNode):
    """Runs a sampler at several speeds, and plain with fewer steps in the same time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffSweep",
            display_name="FRDiff Sweep",
            category=CATEGORY,
            description="Samples the same picture at several speeds and compares each with the plain one, and with "
            "plain runs of fewer steps that take as long.",
            inputs=[
                *sampler_inputs("seed"),
                io.Float.Input(
                    "denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Lower values keep the input picture."
                ),
                io.Vae.Input("vae", tooltip="Decodes the pictures."),
                io.String.Input("dials", default="1.5, 2, 3", tooltip="Values of the speedup dial, with commas."),
                io.String.Input(
                    "presets", default="", tooltip="Named schedules of FRDiff Schedule, with commas, like paper M=2."
                ),
                io.Int.Input("repeats", default=1, min=1, max=20, tooltip="Runs of each; the median time counts."),
                schedule_input("A schedule to try as well."),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="A picture of each run, with its figures."),
                io.Image.Output(display_name="plot", tooltip="Error over measured speed-up."),
                io.String.Output(display_name="table", tooltip="All figures as text."),
                io.String.Output(display_name="json", tooltip="All figures as JSON."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise, vae,
        dials, presets, repeats, schedule=None,
    ) -> io.NodeOutput:  # fmt: skip
        variants = variants_of(dials, presets, schedule, steps)
        one_latent(latent_image, "FRDiff Sweep", "Use FRDiff KSampler, and compare the results by eye and ear.")

        def sample(attached: Any, of_steps: int) -> dict[str, Any]:
            arguments = (seed, of_steps, cfg, sampler_name, scheduler, positive, negative, latent_image)
            return common_ksampler(attached, *arguments, denoise=denoise)[0]

        sample(model, min(WARM_UP_STEPS, steps))
        sweep = Sweep(model, vae, sample, repeats, progress(cls, 2 * len(variants) + 1))
        outcomes = sweep.run(variants, steps)
        pictures, plot, table = sheet(outcomes), speed_error_plot(points(outcomes)), table_of(outcomes)
        data = json.dumps([outcome.row for outcome in outcomes], indent=1)
        return io.NodeOutput(
            to_image(pictures), to_image(plot), table, data, ui=shown(cls, [pictures, plot], table)
        )


class Sweep:
    """Times and compares runs of one sampler; `tell` gets what is known after each of them."""

    def __init__(
        self, model: Any, vae: Any, sample: Callable[[Any, int], dict[str, Any]], repeats: int,
        tell: Callable[[list[Outcome]], None],
    ) -> None:  # fmt: skip
        self._model, self._vae, self._sample, self._repeats, self._tell = model, vae, sample, repeats, tell
        self._reference: tuple[dict[str, Any], torch.Tensor, float] | None = None
        self._outcomes: list[Outcome] = []

    def run(self, variants: list[Variant], steps: int) -> list[Outcome]:
        """The plain run, the variants, and for each one a plain run with as many steps as fit into its time."""
        plain = self._add(Variant("plain", "schedule", steps))
        for variant in variants:
            seconds = self._add(variant).row["seconds"]
            fewer = equal_time_steps(steps, seconds, plain.row["seconds"])
            if fewer not in [outcome.variant.steps for outcome in self._outcomes if not outcome.variant.schedule]:
                self._add(Variant(f"plain, {fewer} steps", "fewer steps", fewer))
        return self._outcomes

    def _add(self, variant: Variant) -> Outcome:
        times, reports = [], []
        latent: dict[str, Any] = {}
        for _ in range(self._repeats):
            attached = attach(self._model, variant.schedule, reports.append)
            wait_for(self._model.load_device)
            started = time.perf_counter()
            latent = self._sample(attached, variant.steps)
            wait_for(self._model.load_device)
            times.append(time.perf_counter() - started)
        images = VAEDecode().decode(self._vae, latent)[0]
        if self._reference is None:
            self._reference = latent, images, statistics.median(times)
        row = self._row(variant, statistics.median(times), reports[-1] if reports else None, latent, images)
        self._outcomes.append(Outcome(variant, row, to_picture(images)))
        self._tell(self._outcomes)
        return self._outcomes[-1]

    def _row(
        self, variant: Variant, seconds: float, report: RunReport | None, latent: dict[str, Any], images: torch.Tensor
    ) -> dict[str, Any]:
        assert self._reference is not None
        reference, pictures, plain_seconds = self._reference
        counts = report.counts if report else {"full": variant.steps, "partial": 0, "skip": 0}
        return {
            "run": variant.name, "steps": variant.steps, **counts,
            "seconds": seconds, "speedup": plain_seconds / seconds,
            "latent_error": latent_error(reference["samples"], latent["samples"]),
            "psnr": psnr(pictures, images), "ssim": ssim(pictures, images),
        }  # fmt: skip


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


def equal_time_steps(steps: int, seconds: float, plain_seconds: float) -> int:
    """Plain steps that take as long as a run of `seconds`: at least 1, and fewer than `steps` if there are any."""
    return min(max(round(steps * seconds / plain_seconds), 1), max(steps - 1, 1))


def points(outcomes: list[Outcome]) -> list[Point]:
    """The runs as points of the plot."""
    return [
        Point(outcome.variant.name, outcome.row["speedup"], outcome.row["latent_error"], outcome.variant.series)
        for outcome in outcomes
    ]


def sheet(outcomes: list[Outcome]) -> Image.Image:
    """The runs' first pictures with their figures."""
    labels = [
        f"{outcome.variant.name}\n{outcome.row['seconds']:.2f} s, {outcome.row['speedup']:.2f}x"
        + ("" if outcome is outcomes[0] else f", SSIM {outcome.row['ssim']:.3f}")
        for outcome in outcomes
    ]
    return grid([outcome.picture for outcome in outcomes], labels)


def table_of(outcomes: list[Outcome]) -> str:
    """The rows as text in columns."""
    rows = [COLUMNS, *(tuple(_cell(outcome.row[name]) for name in COLUMNS) for outcome in outcomes)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def progress(node: Any, total: int) -> Callable[[list[Outcome]], None]:
    """Shows on the node what is known after each run, so that a cancelled sweep loses nothing."""
    bar = comfy.utils.ProgressBar(total)

    def tell(outcomes: list[Outcome]) -> None:
        bar.update_absolute(min(len(outcomes), total), total)
        if node_id(node) is not None:
            show_outputs(node, shown(node, [sheet(outcomes)], table_of(outcomes)))

    return tell


def shown(node: Any, pictures: list[Image.Image], table: str) -> dict[str, Any]:
    """What the node shows: pictures of one size each, and the table."""
    files = [entry for picture in pictures for entry in ui.PreviewImage(to_image(picture), cls=node).values]
    return {"images": files, "text": [table]}


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


def _dial(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FRDiffError(f"{text!r} is not a number. Dials are numbers with commas, like 1.5, 2, 3.") from None


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
