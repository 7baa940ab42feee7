"""What a run saved: its seconds beside those of the run before it, measured or estimated."""

from __future__ import annotations

from dataclasses import dataclass

from .report import RunReport


@dataclass(frozen=True)
class Before:
    """What a run would have taken without FRDiff, in seconds, and whether somebody measured it."""

    seconds: float
    measured: bool


def seconds_before(run: RunReport, other: RunReport | None = None) -> Before | None:
    """The time of the `other` run of the same picture, or an estimate from `run` itself; None where neither says it."""
    limit = run.speedup_limit
    if not run.seconds or limit is None:
        return None
    # One that took longer than the counts allow did something else besides, such as loading the model.
    if other and other.finished and 0 < other.seconds <= run.seconds * limit:
        return Before(other.seconds, True)
    # The first computed evaluation alone would count loading and warm-up once for each of the others.
    timed = sum(record.is_computed_alone for record in run.records)
    return Before(run.seconds * run.speedup, False) if run.speedup and timed > 1 else None
