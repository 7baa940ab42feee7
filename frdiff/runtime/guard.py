"""Online error control: full steps test the forecast for free, and a bad one is not followed by another."""

from __future__ import annotations

# Relative to the output: above it, forecasting nothing at all would have been nearer to the truth.
TOLERANCE = 1.0
# Of the planned skips, so that the guard's cost is bounded.
LARGEST_SHARE = 0.25


class Guard:
    """Says when the skips up to the next planned full step are to be computed instead."""

    def __init__(self, planned_skips: int) -> None:
        self._left = int(planned_skips * LARGEST_SHARE)
        self._distrusts = False
        self.computed = 0

    def tested(self, error: float) -> None:
        """Note a forecast's relative error at a step that was computed."""
        self._distrusts = not error <= TOLERANCE

    def allows_skip(self) -> bool:
        """Whether a planned skip may be made; a refusal is counted."""
        if not self._distrusts or self._left == 0:
            return True
        self._left -= 1
        self.computed += 1
        return False
