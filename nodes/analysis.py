"""The report node."""

from __future__ import annotations

from comfy_api.latest import io

from ..frdiff.report import RunReport
from .inputs import CATEGORY, ReportType
from .live import node_id, show


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
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, report: RunReport) -> io.NodeOutput:
        text, data = report.text(), report.json()
        show(text, node_id(cls))
        return io.NodeOutput(text, data, ui={"text": [text, data]})
