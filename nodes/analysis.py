"""The nodes that show what a run did and how like two results are."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..frdiff.errors import FRDiffError
from ..frdiff.reporting.metrics import difference, latent_error, psnr, ssim
from ..frdiff.reporting.report import RunReport
from ..frdiff.reporting.step_map import computed_cells
from .inputs import CATEGORY, ReportType, theme_input
from .panel import comparison, step_plot
from .panel.canvas import Picture, Svg
from .panel.comparison import UNKNOWN, Figures, latent_pixels
from .panel.drawing import to_image


class FRDiffReport(io.ComfyNode):
    """What a run did, for reading and for programs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffReport",
            display_name="FRDiff Report",
            category=CATEGORY,
            description="Shows what an FRDiff sampler computed, how long it took, and why.",
            inputs=[ReportType.Input("report", tooltip="The report output of an FRDiff sampler."), theme_input()],
            outputs=[
                io.String.Output(display_name="text", tooltip="The report in words."),
                io.String.Output(display_name="json", tooltip="The report as JSON, with one record per evaluation."),
                io.Image.Output(display_name="plot", tooltip="A picture of the steps: kind, time, forecast error."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, report: RunReport, theme: str = "light") -> io.NodeOutput:
        text, data, line = report.text(), report.json(), report.line()
        cells = list(computed_cells(report.records).values())
        picture, on_node = Picture(*step_plot.WIDE, theme), Svg(*step_plot.ON_NODE, line)
        for canvas in (picture, on_node):
            step_plot.step_plot(canvas, cells, line)
        return io.NodeOutput(
            text, data, to_image(picture.image), ui={"text": [text, data], "frdiff_plot": [on_node.source]}
        )


class FRDiffCompare(io.ComfyNode):
    """How like two pictures or two latents are."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffCompare",
            display_name="FRDiff Compare",
            category=CATEGORY,
            description="Compares two results of the same size: pictures, latents, or both.",
            inputs=[
                io.Image.Input("image_a", optional=True, tooltip="The pictures to compare with."),
                io.Image.Input("image_b", optional=True, tooltip="The pictures to judge."),
                io.Latent.Input("latent_a", optional=True, tooltip="The latent to compare with."),
                io.Latent.Input("latent_b", optional=True, tooltip="The latent to judge."),
                io.Float.Input(
                    "amplify", default=4.0, min=0.1, max=100.0, step=0.1,
                    tooltip="How many times brighter the difference is drawn.",
                ),
                ReportType.Input("report_a", optional=True, tooltip="The report of the plain run, for its seconds."),
                ReportType.Input("report_b", optional=True, tooltip="The report of FRDiff's run, for the badge."),
                io.String.Input(
                    "title", default="", optional=True,
                    tooltip="What the badge calls the model. Empty: its kind, from the report.",
                ),
            ],
            outputs=[
                io.Float.Output(display_name="psnr", tooltip="PSNR in dB; 100 means equal. NaN without pictures."),
                io.Float.Output(display_name="ssim", tooltip="SSIM; 1 means equal. NaN without pictures."),
                io.Float.Output(
                    display_name="latent_error", tooltip="Size of the difference over that of latent a. NaN without."
                ),
                io.Image.Output(display_name="difference", tooltip="Where they differ: black is equal."),
                io.String.Output(display_name="text", tooltip="The figures in words."),
                io.Image.Output(display_name="badge", tooltip="One picture to share: before, after, seconds, model."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, amplify: float = 4.0, image_a: Any = None, image_b: Any = None, latent_a: Any = None, latent_b: Any = None,
        report_a: RunReport | None = None, report_b: RunReport | None = None, title: str = "",
    ) -> io.NodeOutput:  # fmt: skip
        images = _pair("image", image_a, image_b)
        parts = _pairs(latent_a, latent_b)
        # Of picture and sound the first one is shown: the picture.
        latents = parts[0] if parts else None
        likeness = (psnr(*images), ssim(*images)) if images else (UNKNOWN, UNKNOWN)
        if images:
            kind, pictures, values = "image", images, images
        elif latents:
            kind, pictures, values = "latent", comparison.colours_of_latents(*latents), _as_pictures(latents)
        else:
            raise FRDiffError("There is nothing to compare: connect two images or two latents.")
        motion = comparison.motion_of(*values, len(latents[0]) if latents else None, bool(images))
        errors = tuple(latent_error(*part) for part in parts)
        figures = Figures(*likeness, max(errors, default=UNKNOWN), motion, errors)
        a, b = pictures
        badge = to_image(comparison.badge(a, b, figures, report_a, report_b, title))
        on_node = comparison.shown(a, b, kind, figures, amplify, badge)
        return io.NodeOutput(
            figures.psnr, figures.ssim, figures.latent_error, difference(*values, amplify), figures.words(), badge,
            ui={"text": [figures.words()], "frdiff_compare": [on_node]},
        )  # fmt: skip


def _pairs(a: dict[str, Any] | None, b: dict[str, Any] | None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The parts of two latents, such as picture and sound, in pairs; none without latents."""
    if a is None or b is None:
        return [pair] if (pair := _pair("latent", a, b)) else []
    first, second = (_parts(latent) for latent in (a, b))
    if len(first) != len(second):
        raise FRDiffError(
            f"latent_a has {len(first)} parts and latent_b has {len(second)}. Connect two latents of the same model."
        )
    return [pair for each in zip(first, second, strict=True) if (pair := _pair("latent", *each))]


def _parts(latent: dict[str, Any]) -> list[torch.Tensor]:
    samples = latent["samples"]
    return list(samples.unbind()) if samples.is_nested else [samples]


def _pair(name: str, a: Any, b: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Two tensors of one shape on one device, or None without the second or the first."""
    if a is None or b is None:
        if a is not b:
            raise FRDiffError(f"Only one {name} is connected: connect {name}_a and {name}_b.")
        return None
    for letter, batch in (("a", a), ("b", b)):
        if not batch.numel():
            raise FRDiffError(
                f"{name}_{letter} is empty, of shape {tuple(batch.shape)}. Connect at least one {name} to compare."
            )
    if len(a) != len(b):
        raise FRDiffError(
            f"{name}_a is a batch of {len(a)} and {name}_b one of {len(b)}. They are compared one by one: "
            "connect two batches of the same size."
        )
    if a.shape != b.shape:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise FRDiffError(f"The {name}s have different shapes, {shapes}. Bring them to the same size and channels.")
    return a, b.to(a.device)


def _as_pictures(latents: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents as (B, H, W, C), scaled so that the first one's spread is 1."""
    a, b = latents
    scale = a.float().std().clamp(min=1e-6)
    return latent_pixels(a) / scale, latent_pixels(b) / scale
