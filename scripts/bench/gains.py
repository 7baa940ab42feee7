"""What the own methods gain over the alternatives at equal measured time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .methods import ALTERNATIVES, PLAIN

# Times this close are one time: the same schedule run twice differs by as much.
TIME_TOLERANCE = 0.03
TARGETS = {"2x": "dial@2", "3x": "dial@3"}

Row = Mapping[str, Any]


def gains(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """By `<model> <steps> <sampler>`: the dial's gain at 2x and 3x, and under `methods` each own method's.

    A target whose row was not measured is None.
    """
    cells: dict[str, list[Row]] = {}
    for row in rows:
        cells.setdefault(f"{row['model']} {row['steps']} {row['sampler']}", []).append(row)
    return {cell: _cell(cell_rows) for cell, cell_rows in cells.items()}


def _cell(rows: Sequence[Row]) -> dict[str, Any]:
    own = {row["method"]: row for row in rows if row["family"] not in (PLAIN, *ALTERNATIVES)}
    found = {name: gain(row, rows) for name, row in own.items()}
    targets = {target: found.get(name) for target, name in TARGETS.items()}
    return {**targets, "methods": {name: each for name, each in found.items() if name not in TARGETS.values()}}


def gain(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """One method's mean PSNR minus the best alternative's at the same measured time, in dB.

    `gain_db` is None, and `note` says why, where there is nothing to compare.
    """
    time = row["relative_time"]
    at_time = {family: psnr_at(_points(rows, family), time) for family in ALTERNATIVES}
    known = {family: value for family, value in at_time.items() if value is not None}
    best = max(known, key=lambda family: known[family], default=None)
    missing = [family for family in ALTERNATIVES if family not in known]
    notes = [f"No measured points of {', '.join(missing)} bracket this time."] if missing else []
    if row["psnr"] is None:
        notes.append("Every picture is identical to the uncached one.")
    return {
        "method": row["method"],
        "speedup": row["speedup"],
        "psnr": row["psnr"],
        "alternatives": at_time,
        "best": best,
        "gain_db": None if best is None or row["psnr"] is None else row["psnr"] - known[best],
        "note": " ".join(notes) or None,
    }


def _points(rows: Sequence[Row], family: str) -> list[tuple[float, float]]:
    """Relative time and PSNR of a family's measured points.

    Points where some pictures are identical are left out: their mean is made of the limit set for infinity.
    """
    measured = [row for row in rows if row["family"] == family and not row["identical"]]
    return sorted((row["relative_time"], row["psnr"]) for row in measured)


def psnr_at(points: Sequence[tuple[float, float]], time: float) -> float | None:
    """PSNR that swept points, sorted by time, reach in `time`: linear in log time between its neighbours.

    A faster point that is better counts too, since nobody has to wait. None when no points bracket the time.
    """
    close = [psnr for known, psnr in points if abs(math.log(time / known)) <= math.log1p(TIME_TOLERANCE)]
    faster = [point for point in points if point[0] <= time]
    slower = [point for point in points if point[0] > time]
    if faster and slower:
        return max(_between(faster[-1], slower[0], time), *(psnr for _, psnr in faster), *close)
    return max([*close, *(psnr for _, psnr in faster)]) if close else None


def _between(left: tuple[float, float], right: tuple[float, float], time: float) -> float:
    share = math.log(time / left[0]) / math.log(right[0] / left[0])
    return left[1] + share * (right[1] - left[1])


def lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The printed table."""
    head = f"{'gain over the best alternative':<32} {'method':<20} {'speedup':>8} {'PSNR dB':>8} {'gain dB':>8}  best"
    texts = [head]
    for cell, entries in found.items():
        texts += [_line(f"{cell} at {target}", entries[target]) for target in TARGETS if entries[target]]
        texts += [_line(cell, entry) for entry in entries["methods"].values()]
    return texts


def _line(where: str, entry: Mapping[str, Any]) -> str:
    psnr = "equal" if entry["psnr"] is None else f"{entry['psnr']:.2f}"
    gained = "-" if entry["gain_db"] is None else f"{entry['gain_db']:+.2f}"
    against = f"{entry['best']} {entry['alternatives'][entry['best']]:.2f}" if entry["best"] else "-"
    note = f"  ({entry['note']})" if entry["note"] else ""
    return f"{where:<32} {entry['method']:<20} {entry['speedup']:7.2f}x {psnr:>8} {gained:>8}  {against}{note}"
