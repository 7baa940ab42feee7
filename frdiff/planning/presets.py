"""Named schedules, as data, and the dial."""

from __future__ import annotations

from .paper import PaperSchedule
from .prior import PriorSchedule
from .schedule import Schedule

EVERY_STEP = Schedule("every step computed")

PRESETS: dict[str, Schedule] = {
    "paper M=2": PaperSchedule("paper M=2", interval=2),
    "paper M=3": PaperSchedule("paper M=3", interval=3),
    "reuse only M=2": PaperSchedule("reuse only M=2", interval=2, mixing=False),
    "reuse only M=3": PaperSchedule("reuse only M=3", interval=3, mixing=False),
    "every step computed": EVERY_STEP,
}


def for_speedup(speedup: float) -> Schedule:
    """The dial: the prior for a speed-up in network time; raises FRDiffError when it is not 1 or more."""
    return PriorSchedule(f"{speedup:g}x", speedup=speedup)
