"""Online error control: full steps test the forecast for free, and after a ruinous one nothing is skipped."""

from __future__ import annotations

# Of what the network says of its input: above it, answering nothing at all would have been nearer to the truth. Where
# noise is added early answers are farther off, to no effect.
TOLERANCE_RAW, TOLERANCE_X0 = 1.0, 1.5


class Guard:
    """Says when planned skips are to be computed instead: from a ruinous forecast on, until one is not."""

    def __init__(self) -> None:
        self._distrusts = False
        self.computed = 0

    def tested(self, error: float, x0: bool) -> None:
        """Note the relative error that a forecast would have had at an evaluation that was computed.

        `x0` says that it is one of a denoised latent.
        """
        self._distrusts = not error <= (TOLERANCE_X0 if x0 else TOLERANCE_RAW)

    def allows_skip(self) -> bool:
        """Whether a planned skip may be made; a refusal is counted."""
        self.computed += self._distrusts
        return not self._distrusts
