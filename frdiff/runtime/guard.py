"""Online error control: full steps test the forecast for free, and after a ruinous one nothing is skipped."""

from __future__ import annotations

from collections.abc import Iterable

from ..reasons import GUARDED, POOR, Reason

# Of what the network says of its input. The keyframe that tests lies twice as far ahead as the nearest skipped step, so
# that there answering nothing at all would have been as near to the truth.
TOLERANCE = 2.0
# A forecast that far off was no nearer than no answer; from this share of the tested ones on the report says so.
NO_NEARER, MANY = 1.0, 0.3


class Guard:
    """Says when planned skips are to be computed instead: from a ruinous forecast on, until one is not.

    `computed` counts the skips that were refused.
    """

    def __init__(self) -> None:
        self._distrusts = False
        self.computed = 0
        self._tests = self._poor = 0

    def tested(self, error: float) -> None:
        """Note the relative error that a forecast would have had at an evaluation that was computed."""
        self._distrusts = not error <= TOLERANCE
        self._tests += 1
        self._poor += not error <= NO_NEARER

    def allows_skip(self) -> bool:
        """Whether a planned skip may be made; a refusal is counted."""
        self.computed += self._distrusts
        return not self._distrusts

    def reasons(self) -> Iterable[Reason]:
        """What forecasts that were far from the truth have done to the run."""
        if self.computed:
            yield GUARDED.of(count=self.computed)
        elif self._poor and self._poor >= MANY * self._tests:
            yield POOR.of(count=self._poor, tests=self._tests)
