"""The format of schedule files: what is written, and what is read again (docs/schedule_file.md)."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import safetensors
import safetensors.numpy

from ..forecasting.rules import FORECASTERS
from ..planning.plan import StepKind
from .model import ScheduleFile
from .reader import KEY, KINDS, Reader, shortened

FORMAT = 1


def to_bytes(file: ScheduleFile) -> bytes:
    """The content of a file; raises FRDiffError when it could not be read again."""
    header = {
        "format": FORMAT,
        "name": file.name,
        "forecaster": file.forecaster.name,
        "forced": list(file.forced),
        "stochastic": file.stochastic,
        "partial_cost": file.partial_cost,
        "method": file.method,
        "held_out": file.held_out,
        "notes": list(file.notes),
        "points": [{name: value for name, value in asdict(p).items() if name != "kinds"} for p in file.points],
        "provenance": asdict(file.provenance),
        "milliseconds": file.milliseconds and asdict(file.milliseconds),
        "moves": [asdict(move) for move in file.moves],
    }
    arrays = {
        "times": np.array(file.times, dtype=np.float64),
        "kinds": np.array([[KINDS.index(kind) for kind in p.kinds] for p in file.points], dtype=np.uint8),
    }
    data = safetensors.numpy.save(arrays, metadata={KEY: json.dumps(header, allow_nan=False)})
    from_bytes(data, file.name)
    return data


def from_bytes(data: bytes, name: str) -> ScheduleFile:
    """Read the content of a file called `name`, field by field; raises FRDiffError with one sentence."""
    reader = Reader(name)
    header, arrays = reader.header(data), reader.arrays(data)
    if header.get("format") != FORMAT:
        raise reader.wrong(f"its format is {shortened(header.get('format'))}, and this version reads {FORMAT}")
    times = reader.times(arrays["times"])
    points = reader.points(header, arrays["kinds"], len(times) - 1)
    forced = reader.list(header, "forced", len(times) - 1)
    if any(type(step) is not int or not 0 <= step < len(times) - 1 for step in forced):
        raise reader.wrong("forced steps are not steps of it")
    if any(point.kinds[step] is not StepKind.FULL for point in points for step in forced):
        raise reader.wrong("a forced step is not full in one of its schedules")
    partial_cost = reader.optional(header, "partial_cost", 0, 1)
    if partial_cost is None and any(StepKind.PARTIAL in point.kinds for point in points):
        raise reader.wrong("it has partial steps but not their cost")
    rule = FORECASTERS.get(reader.text(header, "forecaster"))
    if rule is None:
        raise reader.wrong(f"the forecaster {shortened(header['forecaster'])} is not known")
    notes = reader.list(header, "notes", 20)
    return ScheduleFile(
        name=reader.text(header, "name"),
        times=times,
        points=points,
        provenance=reader.provenance(header),
        forecaster=rule,
        forced=tuple(forced),
        stochastic=reader.boolean(header, "stochastic"),
        partial_cost=partial_cost,
        method=reader.text(header, "method"),
        held_out=int(reader.number(header, "held_out", 0, 1e6)),
        notes=tuple(reader.text({"notes": note}, "notes") for note in notes),
        milliseconds=reader.milliseconds(header),
        moves=reader.moves(header, len(times) - 1),
    )
