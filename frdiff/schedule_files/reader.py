"""Takes fields out of a schedule file as untrusted input, and says what is wrong with them in a sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import safetensors

from ..blocks.network_id import NetworkId
from ..errors import FRDiffError
from ..typed import is_dict, is_list
from .model import Point, Provenance, decibels

KEY = "frdiff_schedule"
LARGEST_FILE = 1_000_000
LARGEST_HEADER = 250_000
MOST_STEPS = 1000
MOST_POINTS = 100
MOST_PICTURES = 1000
MOST_RUNS = 1_000_000
LONGEST_TEXT = 200

# The library, whose functions have no types.
_untyped: Any = safetensors


class Reader:
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
        text = metadata.get(KEY) if is_dict(metadata) else None
        if not isinstance(text, str):
            raise self.wrong("it is a safetensors file without a schedule in it")
        return self._json(text)

    def arrays(self, data: bytes) -> dict[str, np.ndarray]:
        """`times` (N + 1,), of N steps; files of format 1 had another array, which is not looked at."""
        try:
            found: dict[str, dict[str, Any]] = dict(_untyped.deserialize(data))
        except safetensors.SafetensorError as error:
            raise self.wrong("it is not a valid safetensors file") from error
        if set(found) not in ({"times"}, {"times", "kinds"}):
            raise self.wrong("it does not hold the array times alone")
        times = found["times"]
        if times["dtype"] != "F64" or len(times["shape"]) != 1:
            raise self.wrong("the array times has a wrong type or shape")
        return {"times": np.reshape(np.frombuffer(times["data"], dtype=np.float64), times["shape"])}

    def times(self, array: np.ndarray) -> tuple[float, ...]:
        """The falling flow times (N + 1,) of N steps."""
        if not 2 <= len(array) <= MOST_STEPS + 1:
            raise self.wrong(f"it has {len(array) - 1} steps; 1 to {MOST_STEPS} can be used")
        if not (np.isfinite(array).all() and (array >= 0).all() and (array <= 1).all()):
            raise self.wrong("its times are not numbers from 0 to 1")
        if (np.diff(array) > 0).any() or array[0] == array[-1]:
            raise self.wrong("its times do not fall from step to step")
        return tuple(array.tolist())

    def points(self, header: dict[str, Any]) -> tuple[Point, ...]:
        """What was measured, from slow to fast."""
        points = [self._point(row) for row in self.list(header, "points", MOST_POINTS)]
        if len({len(point.levels) for point in points}) > 1:
            raise self.wrong("its points are not of the same pictures")
        return tuple(points)

    def old_points(self, header: dict[str, Any]) -> tuple[Point, ...]:
        """The same of format 1, which had mean errors: those of the uncalibrated schedule, which is what is used."""
        rows = [self._old_point(row) for row in self.list(header, "points", MOST_POINTS)]
        return tuple(row for row in rows if row is not None)

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
            version=self.text(made, "version"),
            date=self.text(made, "date"),
        )

    def list(self, fields: dict[str, Any], key: str, longest: int) -> list[Any]:
        return self._take(fields, key, lambda value: is_list(value) and len(value) <= longest)

    def text(self, fields: dict[str, Any], key: str) -> str:
        return self._take(fields, key, _is_text)

    def whole(self, fields: dict[str, Any], key: str) -> int:
        return self._take(fields, key, lambda value: type(value) is int and 0 <= value <= MOST_RUNS)

    def boolean(self, fields: dict[str, Any], key: str) -> bool:
        return self._take(fields, key, lambda value: isinstance(value, bool))

    def number(self, fields: dict[str, Any], key: str, low: float, high: float) -> float:
        # Infinity and NaN fail the comparison.
        return float(self._take(fields, key, lambda value: type(value) in (int, float) and low <= value <= high))

    def optional(self, fields: dict[str, Any], key: str, low: float, high: float) -> float | None:
        return None if key in fields and fields[key] is None else self.number(fields, key, low, high)

    def _point(self, row: Any) -> Point:
        if not is_dict(row):
            raise self.wrong("a point is not an object")
        levels = self._levels(row, "levels")
        if not levels:
            raise self.wrong("a point has no levels")
        return Point(
            self.number(row, "speedup", 1, 1e3), self.number(row, "cost", 1e-3, 1), levels, self._levels(row, "fewer")
        )

    def _old_point(self, row: Any) -> Point | None:
        if not is_dict(row):
            raise self.wrong("a point is not an object")
        cost = self.number(row, "cost", 1e-3, 1)
        used, fewer = (self.optional(row, key, 0, 1e9) for key in ("prior_error", "fewer_error"))
        if not used:
            return None
        return Point(1 / cost, cost, (decibels(used),), (decibels(fewer),) if fewer else ())

    def _levels(self, row: dict[str, Any], key: str) -> tuple[float, ...]:
        listed = self.list(row, key, MOST_PICTURES)
        return tuple(self.number({key: level}, key, -1e3, 1e3) for level in listed)

    def _dict(self, fields: dict[str, Any], key: str) -> dict[str, Any]:
        return self._take(fields, key, is_dict)

    def _take(self, fields: dict[str, Any], key: str, fits: Callable[[Any], bool]) -> Any:
        if key not in fields:
            raise self.wrong(f"the field {key} is missing")
        if not fits(fields[key]):
            raise self.wrong(f"the field {key} is {shortened(fields[key])}, which it cannot be")
        return fields[key]

    def _json(self, text: bytes | str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.wrong("its header is not JSON") from error
        if not is_dict(value):
            raise self.wrong("its header is not a JSON object")
        return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable()


def shortened(value: Any) -> str:
    """A value as it can be quoted in a sentence."""
    return _printable(repr(value)[:40])


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)
