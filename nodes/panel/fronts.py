"""What the plot on the calibration nodes shows: speed and error of every schedule in a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...frdiff.errors import FRDiffError
from ...frdiff.schedule_files.model import PRIOR, Point, ScheduleFile
from ...frdiff.schedule_files.store import read_schedule
from ..schedule_folder import FILE_WIDGETS, file_of
from .live import node_id, prompt_server, workflow_id

EVENT = "frdiff.front"
# The dial's own step.
DIAL_STEP = 0.1


def front_data(file: ScheduleFile) -> dict[str, Any]:
    """The front as plain data: each schedule that the dial can reach, from slow to fast, and where it comes from."""
    made = file.provenance
    points = sorted((_as_used(point) for point in file.points), key=lambda point: -point.cost)
    estimates = _estimates(points)
    ends = [1 / ((a.cost + b.cost) / 2) for a, b in zip(points, points[1:], strict=False)]
    rows = []
    for point, estimate, low, high in zip(points, estimates, [1.0, *ends], [*ends, float("inf")], strict=True):
        dial = _dial(1 / point.cost, low, high)
        if dial is not None:
            rows.append({
                "speedup": 1 / point.cost, "dial": dial, "from": low, "error": point.error, "estimate": estimate,
                "uncalibrated": point.prior_error, "fewer": point.fewer_error, "prior": point.source == PRIOR,
            })  # fmt: skip
    about = {"name": file.name, "steps": file.steps, "sampler": made.sampler, "scheduler": made.scheduler}
    return {**about, "points": rows}


def front_of(request: dict[str, Any]) -> dict[str, Any]:
    """The front of the file that a node means, from its id and its widgets; raises FRDiffError."""
    node, inputs = request.get("node"), request.get("inputs")
    if not isinstance(node, str) or node not in FILE_WIDGETS or not isinstance(inputs, dict):
        raise FRDiffError("The request for a front could not be read.")
    return front_data(read_schedule(file_of(node, inputs)))


def show_front(node: Any, file: ScheduleFile) -> None:
    """Show a file on the node that is making it, where ComfyUI runs as a server."""
    server = prompt_server()
    if server is not None and node_id(node) is not None:
        place = {"node": node_id(node), "workflow": workflow_id(node)}
        server.send_sync(EVENT, {**place, "front": front_data(file)}, getattr(server, "client_id", None))


def _as_used(point: Point) -> Point:
    """A point with the error of what is used at its speed: the prior's, where the prior is used."""
    return replace(point, error=point.prior_error) if point.source == PRIOR else point


def _estimates(points: list[Point]) -> list[float | None]:
    """Errors where none was measured: what the search expects, scaled to the measured ones on both sides."""
    known = [(point.cost, np.log(point.error / point.expected)) for point in points if point.error and point.expected]
    if not known:
        return [0.0 if point.expected == 0 else None for point in points]
    costs, ratios = zip(*reversed(known), strict=True)
    return [float(point.expected * np.exp(np.interp(point.cost, costs, ratios))) for point in points]


def _dial(speedup: float, low: float, high: float) -> float | None:
    """The dial's value nearest to a speed-up that still means this point, None where there is none."""
    near = round(round(speedup / DIAL_STEP) * DIAL_STEP, 6)
    values = (near, round(near - DIAL_STEP, 6), round(near + DIAL_STEP, 6))
    return next((value for value in values if max(low, 1.0) < value < high or value == low == 1.0), None)
