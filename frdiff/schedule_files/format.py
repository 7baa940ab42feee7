"""The format of schedule files: what is written, and what is read as untrusted input (docs/schedule_file.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ..blocks.network_id import NetworkId
from ..errors import FRDiffError
from ..forecasting.rules import FORECASTERS
from ..planning.plan import StepKind
from .model import CALIBRATED, PRIOR, Milliseconds, Move, Point, Provenance, ScheduleFile

FORMAT = 1
KEY = "frdiff_schedule"
LARGEST_FILE = 1_000_000
LARGEST_HEADER = 250_000
MOST_STEPS = 1000
MOST_POINTS = 1000
MOST_STAGES = 1000
MOST_MOVES = 1000
LONGEST_TEXT = 200

KINDS = (StepKind.FULL, StepKind.PARTIAL, StepKind.SKIP)


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
    reader = _Reader(name)
    header, arrays = reader.header(data), reader.arrays(data)
    if header.get("format") != FORMAT:
        raise reader.wrong(f"its format is {_short(header.get('format'))}, and this version reads {FORMAT}")
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
        raise reader.wrong(f"the forecaster {_short(header['forecaster'])} is not known")
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


class _Reader:
    """Takes fields out of untrusted data, and says what is wrong with them in a sentence."""

    def __init__(self, name: str) -> None:
        self._name = _printable(os.path.basename(name))

    def wrong(self, what: str) -> FRDiffError:
        return FRDiffError(
            f"The schedule file {self._name} cannot be used: {what}. Fetch it again, or calibrate with FRDiff Auto-FR."
        )

    def header(self, data: bytes) -> dict[str, Any]:
        if len(data) > LARGEST_FILE:
            raise self.wrong(f"it is larger than {LARGEST_FILE // 1000} kB")
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or length > len(data) - 8:
            raise self.wrong("it is not a whole safetensors file")
        if length > LARGEST_HEADER:
            raise self.wrong(f"its header is larger than {LARGEST_HEADER // 1000} kB")
        outer = self._json(data[8 : 8 + length])
        metadata = outer.get("__metadata__")
        text = metadata.get(KEY) if isinstance(metadata, dict) else None
        if not isinstance(text, str):
            raise self.wrong("it is a safetensors file without a schedule in it")
        return self._json(text)

    def arrays(self, data: bytes) -> dict[str, np.ndarray]:
        """`times` (N + 1,) and `kinds` (P, N), of P points and N steps."""
        try:
            found = dict(safetensors.deserialize(data))
        except safetensors.SafetensorError as error:
            raise self.wrong("it is not a valid safetensors file") from error
        wanted = {"times": ("F64", np.float64, 1), "kinds": ("U8", np.uint8, 2)}
        if set(found) != set(wanted):
            raise self.wrong("it does not hold exactly the arrays times and kinds")
        arrays = {}
        for name, (code, dtype, dimensions) in wanted.items():
            if found[name]["dtype"] != code or len(found[name]["shape"]) != dimensions:
                raise self.wrong(f"the array {name} has a wrong type or shape")
            arrays[name] = np.frombuffer(found[name]["data"], dtype=dtype).reshape(found[name]["shape"])
        return arrays

    def times(self, array: np.ndarray) -> tuple[float, ...]:
        """The falling flow times (N + 1,) of N steps."""
        if not 2 <= len(array) <= MOST_STEPS + 1:
            raise self.wrong(f"it has {len(array) - 1} steps; 1 to {MOST_STEPS} can be used")
        if not (np.isfinite(array).all() and (array >= 0).all() and (array <= 1).all()):
            raise self.wrong("its times are not numbers from 0 to 1")
        if (np.diff(array) > 0).any() or array[0] == array[-1]:
            raise self.wrong("its times do not fall from step to step")
        return tuple(array.tolist())

    def points(self, header: dict[str, Any], kinds: np.ndarray, steps: int) -> tuple[Point, ...]:
        """The points, with `kinds` (P, N) of P points and N steps."""
        rows = self.list(header, "points", MOST_POINTS)
        if kinds.shape != (len(rows), steps) or not rows:
            raise self.wrong("the number of its schedules or of their steps does not fit")
        if (kinds >= len(KINDS)).any() or (kinds[:, 0] != KINDS.index(StepKind.FULL)).any():
            raise self.wrong("a schedule has an unknown kind of step, or does not begin with a full one")
        return tuple(self._point(row, line) for row, line in zip(rows, kinds.tolist(), strict=True))

    def provenance(self, header: dict[str, Any]) -> Provenance:
        made = self._dict(header, "provenance")
        network = self._dict(made, "network")
        return Provenance(
            # Earlier files say nothing of patches.
            network=NetworkId(*(self.text({"patches": "", **network}, field.name) for field in fields(NetworkId))),
            prediction=self.text(made, "prediction"),
            sampler=self.text(made, "sampler"),
            scheduler=self.text(made, "scheduler"),
            cfg=self.number(made, "cfg", -1e6, 1e6),
            size=self.text(made, "size"),
            stages=int(self.number(made, "stages", 0, 1e6)),
            version=self.text(made, "version"),
            date=self.text(made, "date"),
        )

    def milliseconds(self, header: dict[str, Any]) -> Milliseconds | None:
        # Files from before these fields were added have neither.
        if header.get("milliseconds") is None:
            return None
        took = self._dict(header, "milliseconds")
        stages = self.list(took, "stages", MOST_STAGES)
        if any(not isinstance(each, list) or len(each) != 2 for each in stages):
            raise self.wrong("the milliseconds of a stage are not its path and a number")
        pairs = [{"path": path, "milliseconds": passed} for path, passed in stages]
        return Milliseconds(
            self.number(took, "full", 0, 1e9), self.optional(took, "partial", 0, 1e9),
            tuple((self.text(each, "path"), self.number(each, "milliseconds", 0, 1e9)) for each in pairs),
        )  # fmt: skip

    def moves(self, header: dict[str, Any], steps: int) -> tuple[Move, ...]:
        rows = self.list(header, "moves", MOST_MOVES) if "moves" in header else []
        return tuple(self._move(row, steps) for row in rows)

    def list(self, fields: dict[str, Any], key: str, longest: int) -> list[Any]:
        return self._take(fields, key, lambda value: isinstance(value, list) and len(value) <= longest)

    def text(self, fields: dict[str, Any], key: str) -> str:
        return self._take(fields, key, _is_text)

    def boolean(self, fields: dict[str, Any], key: str) -> bool:
        return self._take(fields, key, lambda value: isinstance(value, bool))

    def whole(self, fields: dict[str, Any], key: str, low: int, high: int) -> int:
        return self._take(fields, key, lambda value: type(value) is int and low <= value <= high)

    def number(self, fields: dict[str, Any], key: str, low: float, high: float) -> float:
        # Infinity and NaN fail the comparison.
        return float(self._take(fields, key, lambda value: type(value) in (int, float) and low <= value <= high))

    def optional(self, fields: dict[str, Any], key: str, low: float, high: float) -> float | None:
        return None if key in fields and fields[key] is None else self.number(fields, key, low, high)

    def _point(self, row: Any, kinds: list[int]) -> Point:
        if not isinstance(row, dict):
            raise self.wrong("a point of its front is not an object")
        source = self.text(row, "source")
        if source not in (CALIBRATED, PRIOR):
            raise self.wrong(f"the source {_short(source)} is not known")
        errors = {key: self.optional(row, key, 0, 1e9) for key in ("error", "prior_error", "fewer_error")}
        return Point(
            tuple(KINDS[kind] for kind in kinds), self.number(row, "cost", 0, 1),
            self.number(row, "expected", 0, 1e30), source, self.number(row, "repair", 0, 1), **errors,
        )  # fmt: skip

    def _move(self, row: Any, steps: int) -> Move:
        if not isinstance(row, dict):
            raise self.wrong("a move of its refinement is not an object")
        before, after = (self.whole(row, key, 1, steps - 1) for key in ("before", "after"))
        return Move(self.whole(row, "full", 1, steps), before, after, self.number(row, "error", 0, 1e9))

    def _dict(self, fields: dict[str, Any], key: str) -> dict[str, Any]:
        return self._take(fields, key, lambda value: isinstance(value, dict))

    def _take(self, fields: dict[str, Any], key: str, fits: Callable[[Any], bool]) -> Any:
        if key not in fields:
            raise self.wrong(f"the field {key} is missing")
        if not fits(fields[key]):
            raise self.wrong(f"the field {key} is {_short(fields[key])}, which it cannot be")
        return fields[key]

    def _json(self, text: bytes | str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.wrong("its header is not JSON") from error
        if not isinstance(value, dict):
            raise self.wrong("its header is not a JSON object")
        return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable()


def _short(value: Any) -> str:
    return _printable(repr(value)[:40])


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)
