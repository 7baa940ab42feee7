"""Named schedules, as data."""

from __future__ import annotations

from .errors import FRDiffError
from .schedule import Schedule, counted_speedup

# Of a full step, from the latencies published for SD 1.5 (arXiv 2312.03517, table 2).
PAPER_PARTIAL_COST = 0.193

EVERY_STEP = Schedule("every step computed", interval=1)

PRESETS = {
    "paper M=2": Schedule("paper M=2", interval=2),
    "paper M=3": Schedule("paper M=3", interval=3),
    "reuse only M=2": Schedule("reuse only M=2", interval=2, mixing=False),
    "reuse only M=3": Schedule("reuse only M=3", interval=3, mixing=False),
    "every step computed": EVERY_STEP,
}

PAPER_INTERVALS = range(2, 11)


def for_speedup(speedup: float, steps: int) -> Schedule:
    """The paper's schedule whose counted speed-up over `steps` steps is nearest to the one asked for.

    Raises FRDiffError when `speedup` is not a number of 1 or more.
    """
    if not 1 <= speedup < float("inf"):
        raise FRDiffError(f"The speed-up is {speedup}; it must be 1 (off) or more.")
    candidates = [EVERY_STEP, *(Schedule(f"paper M={m}", interval=m) for m in PAPER_INTERVALS)]
    return min(candidates, key=lambda s: abs(counted_speedup(s.plan(max(steps, 1)), PAPER_PARTIAL_COST) - speedup))
