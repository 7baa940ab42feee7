"""The model patcher node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .host.attach import attach, chosen
from .inputs import CATEGORY, schedule_input, search_aliases, speedup_input
from .panel.live import StepMap


class FRDiffModelPatcher(io.ComfyNode):
    """Makes any sampler that uses the model faster."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffModelPatcher",
            display_name="FRDiff Model Patcher",
            category=CATEGORY,
            description="Accelerates any sampler node with a feature cache: put it between the model and the sampler.",
            **search_aliases("feature cache", "cache for any sampler", "accelerate any sampler"),
            inputs=[
                io.Model.Input("model", tooltip="The model to make faster."),
                speedup_input(),
                schedule_input(),
            ],
            outputs=[io.Model.Output(tooltip="The model for a sampler node or a guider.")],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(cls, model: Any, speedup: float, schedule: Any = None) -> io.NodeOutput:
        step_map = StepMap(cls, model=model)
        return io.NodeOutput(attach(model, chosen(speedup, schedule), step_map.end, step_map.observe))
