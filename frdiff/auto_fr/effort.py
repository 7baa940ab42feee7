"""How much a calibration may do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """How much a calibration may do.

    `runs` are recorded; at `places` (parts of the run) it is measured how far an error travels; `speedups` are
    tried in real runs, with the schedules of `peaks` searches, the prior's repair and these `repairs` (Schedule), and
    climbed from for `seconds` in all or for `climbed` schedules each; they are judged on `held_out` further runs.
    """

    runs: int
    places: tuple[float, ...]
    speedups: tuple[float, ...]
    peaks: int = 1
    seconds: float = 0.0
    held_out: int = 0
    repairs: tuple[float, ...] = (0.0,)
    climbed: int | None = None


EFFORTS: dict[str, Effort] = {
    "quick": Effort(1, (), (2.0, 3.0)),
    "normal": Effort(3, (0.1, 0.4, 0.75), (1.5, 2.0, 3.0), held_out=3),
    "thorough": Effort(
        6, (0.1, 0.3, 0.5, 0.7, 0.85), (1.5, 2.0, 3.0, 4.0), peaks=2, seconds=300.0, held_out=6,
        repairs=(0.0, 0.5, 1.0),
    ),
}  # fmt: skip
# From fewer runs the search finds what suits those runs: its schedules lose on others (docs/findings_auto_fr.md).
FEWEST_RUNS = 3
