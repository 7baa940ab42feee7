"""What the plot on the calibration nodes shows: how near to the uncached picture each speed of a file is."""

from __future__ import annotations

from typing import Any

from ...frdiff.auto_fr.calibrate import EFFORTS
from ...frdiff.errors import FRDiffError
from ...frdiff.schedule_files.choice import LEVELS, front, measured
from ...frdiff.schedule_files.model import ScheduleFile
from ..schedule_folder import FILE_WIDGETS, file_of
from .live import node_id, prompt_server, workflow_id

EVENT = "frdiff.front"
NOT_YET = "{why} {effort} takes as long as {runs} ordinary runs."


def front_data(file: ScheduleFile) -> dict[str, Any]:
    """The front as plain data: each speed that is worth it, from slow to fast, and what is known of it."""
    points = front(file.points)
    ends = [2 / (a.cost + b.cost) for a, b in zip(points, points[1:], strict=False)]
    rows = [
        {
            "speedup": point.reached, "dial": point.speedup, "from": low, "said": point.said, "middle": point.middle,
            "worst": point.worst, "low": point.low, "high": point.high, "fewer": _middle(point.fewer),
            "words": measured(point, file),
        }
        for point, low in zip(points, [1.0, *ends], strict=False)
    ]  # fmt: skip
    made = file.provenance
    return {
        "name": file.name, "steps": file.steps, "sampler": made.sampler, "scheduler": made.scheduler,
        "measure": file.measure, "pictures": file.pictures, "levels": LEVELS, "points": rows,
    }  # fmt: skip


def front_of(request: dict[str, Any]) -> dict[str, Any]:
    """The front of the file that a node means, from its id and its widgets; raises FRDiffError."""
    node, inputs = request.get("node"), request.get("inputs")
    if not isinstance(node, str) or node not in FILE_WIDGETS or not isinstance(inputs, dict):
        raise FRDiffError("The request for a front could not be read.")
    return front_data(file_of(node, inputs))


def cost_of(inputs: dict[str, Any], why: FRDiffError) -> FRDiffError:
    """Why there is no file yet, with what it takes to make one where the node can."""
    effort = inputs.get("effort")
    if not isinstance(effort, str) or effort not in EFFORTS:
        return why
    return FRDiffError(NOT_YET.format(why=why, effort=effort, runs=EFFORTS[effort].most_runs))


def show_front(node: Any, file: ScheduleFile) -> None:
    """Show a file on the node that is making it or has found it, where ComfyUI runs as a server."""
    server = prompt_server()
    if server is not None and node_id(node) is not None:
        place = {"node": node_id(node), "workflow": workflow_id(node)}
        server.send_sync(EVENT, {**place, "front": front_data(file)}, getattr(server, "client_id", None))


def _middle(levels: tuple[float, ...]) -> float | None:
    """The median, None of nothing."""
    return sorted(levels)[len(levels) // 2] if levels else None
