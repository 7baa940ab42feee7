"""The schedule node."""

from __future__ import annotations

from comfy_api.latest import io

from ..frdiff.forecasting.rules import FORECASTERS, REUSE
from ..frdiff.planning.paper import PaperSchedule
from ..frdiff.planning.presets import PRESETS
from ..frdiff.planning.schedule import RunOptions
from .inputs import CATEGORY, ScheduleType

CUSTOM = "custom"
# What partial steps reuse; without it there are none.
NO_STAGES = "none"
STAGES = ("whole blocks", "branches of blocks", NO_STAGES)


class FRDiffSchedule(io.ComfyNode):
    """A schedule of the user's own choice."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffSchedule",
            display_name="FRDiff Schedule",
            category=CATEGORY,
            description="Chooses what happens at each step. Only needed when the dial is not enough.",
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=[*PRESETS, CUSTOM],
                    tooltip="A published schedule, or custom to use the values below.",
                ),
                io.Int.Input("interval", default=2, min=1, max=100, tooltip="Custom: compute every so many steps."),
                io.Boolean.Input(
                    "score_mixing", default=True, tooltip="Custom: blend from repeating the output to partial steps."
                ),
                io.Int.Input("first_full", default=1, min=1, max=1000, tooltip="Custom: first steps to compute."),
                io.Int.Input("last_full", default=0, min=0, max=1000, tooltip="Custom: last steps to compute."),
                io.Float.Input(
                    "budget_mb", default=4096.0, min=0.0, max=1e6, step=1.0,
                    tooltip="Custom: memory for remembered stages; what does not fit is computed.",
                ),
                # Optional, so that prompts from before they were there still run.
                io.Combo.Input(
                    "forecaster", options=list(FORECASTERS), default=REUSE.name, optional=True,
                    tooltip="Custom: how skipped steps are answered for; reuse repeats the newest output.",
                ),
                io.Combo.Input(
                    "stages", options=list(STAGES), optional=True,
                    tooltip="Custom: what partial steps take from the last full step; none skips them instead.",
                ),
                io.Boolean.Input(
                    "guard", default=False, optional=True,
                    tooltip="Custom: compute the next skipped steps where a forecast was far from the truth.",
                ),
            ],
            outputs=[ScheduleType.Output(display_name="schedule", tooltip="For the `schedule` input of FRDiff nodes.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, preset: str, interval: int, score_mixing: bool, first_full: int, last_full: int, budget_mb: float,
        forecaster: str = REUSE.name, stages: str = "whole blocks", guard: bool = False,
    ) -> io.NodeOutput:  # fmt: skip
        if preset != CUSTOM:
            return io.NodeOutput(PRESETS[preset])
        options = RunOptions(
            FORECASTERS[forecaster], guarded=guard, budget_mb=budget_mb, branches=stages == "branches of blocks"
        )
        return io.NodeOutput(
            PaperSchedule(
                f"custom M={interval}", options, interval=interval, mixing=score_mixing, first_full=first_full,
                last_full=last_full, partial=stages != NO_STAGES,
            )  # fmt: skip
        )
