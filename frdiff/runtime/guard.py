"""Online error control: full steps test the forecast for free, and a ruinous one stops the skipping until it is none."""

from __future__ import annotations

# Of what the network adds to its input: above it, answering nothing at all would have been nearer to the truth.
TOLERANCE = 1.0


class Guard:
    """Says when planned skips are to be computed instead: from a ruinous forecast on, until one is not."""

    def __init__(self) -> None:
        self._distrusts = False
        self.computed = 0

    def tested(self, error: float) -> None:
        """Note the relative error that a forecast would have had at an evaluation that was computed."""
        self._distrusts = not error <= TOLERANCE

    def allows_skip(self) -> bool:
        """Whether a planned skip may be made; a refusal is counted."""
        self.computed += self._distrusts
        return not self._distrusts
