"""The nodes that show what a run did and how like two results are."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..frdiff.errors import FRDiffError
from ..frdiff.reporting.metrics import difference, latent_error, psnr, ssim
from ..frdiff.reporting.report import RunReport
from ..frdiff.reporting.step_map import computed_cells
from .inputs import CATEGORY, ReportType, one_latent
from .panel.drawing import step_plot, to_image

UNKNOWN = float("nan")


class FRDiffReport(io.ComfyNode):
    """What a run did, for reading and for programs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffReport",
            display_name="FRDiff Report",
            category=CATEGORY,
            description="Shows what an FRDiff sampler computed, how long it took, and why.",
            inputs=[ReportType.Input("report", tooltip="The report output of an FRDiff sampler.")],
            outputs=[
                io.String.Output(display_name="text", tooltip="The report in words."),
                io.String.Output(display_name="json", tooltip="The report as JSON, with one record per evaluation."),
                io.Image.Output(display_name="plot", tooltip="A picture of the steps: kind, time, forecast error."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, report: RunReport) -> io.NodeOutput:
        text, data = report.text(), report.json()
        plot = step_plot(list(computed_cells(report.records).values()), report.line())
        return io.NodeOutput(text, data, to_image(plot), ui={"text": [text, data]})


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
            ],
            outputs=[
                io.Float.Output(display_name="psnr", tooltip="PSNR in dB; 100 means equal. NaN without pictures."),
                io.Float.Output(display_name="ssim", tooltip="SSIM; 1 means equal. NaN without pictures."),
                io.Float.Output(
                    display_name="latent_error", tooltip="Size of the difference over that of latent a. NaN without."
                ),
                io.Image.Output(display_name="difference", tooltip="Where they differ: black is equal."),
                io.String.Output(display_name="text", tooltip="The figures in words."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, amplify: float = 4.0, image_a: Any = None, image_b: Any = None, latent_a: Any = None, latent_b: Any = None
    ) -> io.NodeOutput:
        images = _pair("image", image_a, image_b)
        latents = _pair("latent", *(latent and _samples(latent) for latent in (latent_a, latent_b)))
        if images is None and latents is None:
            raise FRDiffError("There is nothing to compare: connect two images or two latents.")
        figures = (psnr(*images), ssim(*images)) if images else (UNKNOWN, UNKNOWN)
        error = latent_error(*latents) if latents else UNKNOWN
        a, b = images or _as_pictures(latents)
        shown = difference(a, b, amplify)
        text = _in_words(*figures, error)
        return io.NodeOutput(*figures, error, shown, text, ui={"text": [text]})


def _samples(latent: dict[str, Any]) -> torch.Tensor:
    return one_latent(latent, "FRDiff Compare", "Separate the parts, and compare one of them.")


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


def _as_pictures(latents: Any) -> list[torch.Tensor]:
    """Latents (B, C, ..., H, W), or (B, C, L), as (B * ..., H, W, C), scaled so that the first one's spread is 1."""
    latents = [latent.unsqueeze(-2) if latent.ndim == 3 else latent for latent in latents]
    scale = latents[0].float().std().clamp(min=1e-6)
    return [latent.float().movedim(1, -1).flatten(0, -4) / scale for latent in latents]


def _in_words(decibels: float, similarity: float, error: float) -> str:
    parts = [
        (decibels, f"PSNR {decibels:.2f} dB"), (similarity, f"SSIM {similarity:.4f}"),
        (error, f"latent error {error * 100:.2f} %"),
    ]  # fmt: skip
    # NaN alone differs from itself.
    return ", ".join(words for value, words in parts if value == value)
