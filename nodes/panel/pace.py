"""How long a run will go on: what is left of its plan, by what its own steps of each kind took."""

from __future__ import annotations

from statistics import median

from ...frdiff.planning.plan import Plan, StepKind
from ...frdiff.reporting.record import StepRecord


class Pace:
    """Follows a run from the starts of its evaluations, by the clock; seconds all through."""

    def __init__(self, started: float) -> None:
        self._started = self._began = started
        self._place: int | None = None
        self._kind = ""
        self._took: dict[str, list[float]] = {}
        self._first: float | None = None

    def begin(self, now: float, records: list[StepRecord], plan: Plan) -> None:
        """Note that the last of `records` begins."""
        place = place_of(records, plan)
        if place == self._place:
            return
        if self._place is not None:
            self._end(now - self._began)
        self._place, self._kind, self._began = place, records[-1].kind, now

    def passed(self, now: float) -> float:
        """What the run took up to now."""
        return now - self._started

    def left(self, now: float, plan: Plan) -> float | None:
        """What the rest of the plan will take; None as long as no full step besides the first was seen."""
        full = self._took.get(StepKind.FULL.value)
        if not full or self._place is None:
            return None
        typical = {kind: median(took) for kind, took in self._took.items()}
        # Until the first of them a partial step is no faster than a full one, and a skip takes no time.
        typical = {StepKind.PARTIAL.value: typical[StepKind.FULL.value], StepKind.SKIP.value: 0.0, **typical}
        rest = sum(typical[step.kind.value] for step in plan.evaluations[self._place + 1 :])
        return rest + max(typical[self._kind] - (now - self._began), 0.0)

    def _end(self, took: float) -> None:
        # The first one pays for loading and warm-up.
        if self._first is None:
            self._first = took
        else:
            self._took.setdefault(self._kind, []).append(took)


def place_of(records: list[StepRecord], plan: Plan) -> int:
    """Where in the plan a run is: its evaluation, or its step where the plan is one of steps."""
    return len(records) - 1 if plan.by_evaluation else records[-1].step
