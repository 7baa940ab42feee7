"""The sweep node: the trade-off of speed and error on the user's own machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import comfy.utils
from comfy_api.latest import io, ui
from PIL import Image

from nodes import common_ksampler  # pyright: ignore[reportAttributeAccessIssue]  (ComfyUI's nodes.py, not this package)

from .inputs import CATEGORY, one_latent, sampler_inputs, schedule_input, theme_input
from .panel import trade_off
from .panel.canvas import Canvas, Picture, Svg
from .panel.drawing import grid, to_image
from .panel.live import node_id, show_outputs
from .panel.trade_off import Point
from .sweep_runs import Outcome, Sweep, variants_of

WARM_UP_STEPS = 2
# Saved workflows read them by name and place: new ones go to the end.
COLUMNS = (
    "run", "steps", "full", "partial", "skip", "seconds", "speedup", "latent_error", "psnr", "ssim", "computed",
    "seconds_least", "seconds_most", "worst_frame", "flicker", "path_error",
)  # fmt: skip


class FRDiffSweep(io.ComfyNode):
    """Runs a sampler at several speeds, and plain with fewer steps at the same counted cost."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffSweep",
            display_name="FRDiff Sweep",
            category=CATEGORY,
            description="Samples the same picture at several speeds and compares each with the plain one, and with "
            "plain runs of fewer steps that compute as much.",
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
                theme_input(),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="A picture of each run, with its figures."),
                io.Image.Output(display_name="plot", tooltip="Error over seconds."),
                io.String.Output(display_name="table", tooltip="All figures as text."),
                io.String.Output(display_name="json", tooltip="All figures as JSON."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise, vae,
        dials, presets, repeats, schedule=None, theme="light",
    ) -> io.NodeOutput:  # fmt: skip
        variants = variants_of(dials, presets, schedule, steps)
        one_latent(latent_image, "FRDiff Sweep", "Use FRDiff KSampler, and compare the results by eye and ear.")

        def sample(attached: Any, of_steps: int) -> dict[str, Any]:
            arguments = (seed, of_steps, cfg, sampler_name, scheduler, positive, negative, latent_image)
            return common_ksampler(attached, *arguments, denoise=denoise)[0]

        sample(model, min(WARM_UP_STEPS, steps))
        sweep = Sweep(model, vae, sample, repeats, progress(cls, theme, (2 * len(variants) + 1) * repeats))
        outcomes = sweep.run(variants, steps)
        pictures, table = sheet(outcomes, theme), table_of(outcomes)
        plot = drawn(Picture(*trade_off.WIDE, theme), outcomes).image
        data = json.dumps([outcome.row for outcome in outcomes], indent=1)
        return io.NodeOutput(
            to_image(pictures), to_image(plot), table, data, ui=shown(cls, outcomes, theme)
        )


CanvasType = TypeVar("CanvasType", bound=Canvas)


def drawn(canvas: CanvasType, outcomes: list[Outcome]) -> CanvasType:
    """The plot of the runs on a canvas, which is given back."""
    trade_off.trade_off_plot(canvas, [_point(outcome) for outcome in outcomes], outcomes[0].repeats)
    return canvas


def _point(outcome: Outcome) -> Point:
    """A run as a point of the plot; plain runs are named by their steps, the others by what they gain."""
    row, variant = outcome.row, outcome.variant
    steps = f"{variant.steps} step{'s' * (variant.steps > 1)}"
    named = {"plain": f"plain, {steps}", "fewer steps": steps}
    label = named.get(variant.series, f"{variant.name}  {row['speedup']:.2f}x")
    spread = None if row["seconds_least"] is None else (row["seconds_least"], row["seconds_most"])
    return Point(label, row["seconds"], row["latent_error"], variant.series, spread)


def sheet(outcomes: list[Outcome], theme: str) -> Image.Image:
    """The runs' first pictures with their figures."""
    return grid([outcome.picture for outcome in outcomes], [_label(outcome) for outcome in outcomes], theme)


def _label(outcome: Outcome) -> str:
    """A run's name, the median of its times and its speed-up, from the least to the most time, and how like it is."""
    row = outcome.row
    spread = "" if outcome.repeats == 1 else f"\n{row['seconds_least']:.2f} to {row['seconds_most']:.2f} s"
    like = "" if outcome.variant.series == "plain" else f"\nSSIM {row['ssim']:.3f}"
    return f"{row['run']}\n{row['seconds']:.2f} s, {row['speedup']:.2f}x{spread}{like}"


def table_of(outcomes: list[Outcome]) -> str:
    """The rows as text in columns."""
    rows = [COLUMNS, *(tuple(_cell(outcome.row[name]) for name in COLUMNS) for outcome in outcomes)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def progress(node: Any, theme: str, total: int) -> Callable[[list[Outcome]], None]:
    """Shows on the node what is known after each run, so that a cancelled sweep loses nothing."""
    bar = comfy.utils.ProgressBar(total)

    def tell(outcomes: list[Outcome]) -> None:
        bar.update_absolute(min(sum(outcome.repeats for outcome in outcomes), total), total)
        if node_id(node) is not None:
            show_outputs(node, shown(node, outcomes, theme))

    return tell


def shown(node: Any, outcomes: list[Outcome], theme: str) -> dict[str, Any]:
    """What the node shows: the sheet of pictures, the plot in the page's colours, and the table."""
    plot = drawn(Svg(*trade_off.ON_NODE, trade_off.TITLE), outcomes).source
    return {
        "images": ui.PreviewImage(to_image(sheet(outcomes, theme)), cls=node).values, "text": [table_of(outcomes)],
        "frdiff_plot": [plot], "frdiff_rows": [outcome.row for outcome in outcomes],
    }  # fmt: skip


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
