"""Which speed is meant: by the dial, or by the error that was measured there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import FRDiffError
from .model import PICTURE, Point, ScheduleFile

BY_SPEED, BY_DECIBELS = "speed", "error: decibels"
# Named levels in decibels of PSNR.
LEVELS = {"error: invisible": 40.0, "error: close": 33.0, "error: alike": 27.0}
WAYS = (BY_SPEED, *LEVELS, BY_DECIBELS)
# In standard errors of the mean difference: what is no better than that is not called better.
CLEARLY = 2.0


@dataclass(frozen=True)
class Wish:
    """What a user asks for: a speed-up, or a level of error that is named or given in decibels."""

    speedup: float = 2.0
    by: str = BY_SPEED
    decibels: float = 35.0

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise FRDiffError(f"A speed is chosen by {', '.join(WAYS[:-1])} or {WAYS[-1]}, not by {self.by[:40]}.")

    @property
    def level(self) -> float | None:
        """The decibels that are asked for, None by speed."""
        return None if self.by == BY_SPEED else LEVELS.get(self.by, self.decibels)


@dataclass(frozen=True)
class Choice:
    """The dial's value, and what was measured there or next to it; None where nothing was, or the dial is off."""

    speedup: float
    point: Point | None = None


def front(points: Sequence[Point]) -> list[Point]:
    """From slow to fast the points that are clearly nearer to the uncached run than all that are faster.

    Of points of the same cost one stays.
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: point.cost):
        before = kept[-1] if kept else None
        if before is None or (point.middle > before.middle and clearly_above(point.levels, before.levels)):
            kept.append(point)
    return kept[::-1]


def clearly_above(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Whether levels of the same pictures are above others by two standard errors of the mean difference.

    See docs/math.md, equation 6.7. Of one picture, whether its level is.
    """
    apart = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = sum(apart) / len(apart)
    variance = sum((each - mean) ** 2 for each in apart) / max(len(apart) - 1, 1)
    return mean > CLEARLY * math.sqrt(variance / len(apart))


def chosen(file: ScheduleFile, wish: Wish) -> Choice:
    """What a wish means with a file; raises FRDiffError where nothing was measured that it asks for.

    By error it is the fastest point of the front whose level is reached, and 1 (off) where none is.
    """
    points = front(file.points)
    if wish.level is None:
        near = min(points, key=lambda point: abs(point.cost - 1 / wish.speedup), default=None)
        return Choice(wish.speedup, near if wish.speedup > 1 else None)
    if not points:
        raise FRDiffError(f"Nothing was measured in {file.name}: choose by speed, or calibrate with FRDiff Auto-FR.")
    reached = [point for point in points if point.said >= wish.level]
    return Choice(reached[-1].speedup, reached[-1]) if reached else Choice(1.0)


def words(file: ScheduleFile, wish: Wish) -> str:
    """What a wish means here, such as `2.6x, 38 dB on 16 of your pictures, worst 31`."""
    choice = chosen(file, wish)
    if choice.point is not None:
        near = "" if wish.level is not None or choice.point.speedup == wish.speedup else f"{wish.speedup:g}x; near it "
        return near + measured(choice.point, file)
    if wish.level is None:
        return "1x: every step is computed." if wish.speedup == 1 else f"{wish.speedup:g}x; nothing was measured."
    return f"1x: no speed that was measured reaches {wish.level:g} dB, so every step is computed."


def measured(point: Point, file: ScheduleFile) -> str:
    """What is known of a point, in words: one number where it holds for other pictures, or what nine of ten reach."""
    unit = "dB" if file.measure == PICTURE else "dB of the latent"
    count = len(point.levels)
    pictures = "one of your pictures" if count == 1 else f"{count} of your pictures, worst {point.worst:.0f}"
    if point.floor is None:
        told = f"{point.middle:.0f} {unit} on {pictures}, too few to tell of others"
    elif point.is_alike:
        told = f"{point.said:.0f} {unit} on {pictures}"
    else:
        told = f"nine of ten surely above {point.floor:.0f} {unit} (half above {point.middle:.0f} on {pictures})"
    return f"{point.reached:.1f}x, {told}"
