"""What Auto-FR finds out about a model, as it is kept in a file (docs/schedule_file.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, mean, median, stdev

import numpy as np

from ..blocks.network_id import NetworkId
from ..planning.prior import REPAIR

VERSION = "0.1.0"
# What levels are measured of: PSNR of pictures, or how far the latent is above its error.
PICTURE, LATENT = "picture", "latent"
# In decibels: nine of ten pictures are at most so far below what is said, and the median is at most so far from it.
BELOW, NEAR = 4.0, 2.0
# How sure it is that this holds for other pictures; fewer than so many tell nothing of others.
SURE, FEWEST = 0.9, 4
# Nine of ten of a normal distribution are above so many standard deviations below its mean; also the quantile of SURE.
Z = NormalDist().inv_cdf(SURE)
# Equal results have no finite level.
MOST_DECIBELS = 100.0


@dataclass(frozen=True)
class Provenance:
    """What a file was measured with; `size` is the latent's shape without its batch, like `16x16x16`."""

    network: NetworkId
    prediction: str
    sampler: str
    scheduler: str
    cfg: float
    size: str
    version: str
    date: str


@dataclass(frozen=True)
class Point:
    """What was measured at one value of the dial, `speedup`.

    `cost` is the share of the evaluations that were computed. `levels` are decibels, one for each picture, against the
    uncached run; `fewer` are those of plain runs of as many steps, where that was measured.
    """

    speedup: float
    cost: float
    levels: tuple[float, ...]
    fewer: tuple[float, ...] = ()

    @property
    def reached(self) -> float:
        """The counted speed-up."""
        return 1 / self.cost

    @property
    def worst(self) -> float:
        """The least level."""
        return min(self.levels)

    @property
    def low(self) -> float:
        """What nine of ten pictures reach."""
        return quantile(self.levels, 0.1)

    @property
    def high(self) -> float:
        """What one of ten pictures reaches."""
        return quantile(self.levels, 0.9)

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.levels)

    @property
    def floor(self) -> float | None:
        """What nine of ten other pictures surely reach; None where there are too few to tell.

        See docs/math.md, equation 6.6.
        """
        count = len(self.levels)
        if count < FEWEST:
            return None
        short = 1 - Z * Z / (2 * (count - 1))
        deviations = Z * (1 + math.sqrt(1 - short * (1 - 1 / count))) / short
        return mean(self.levels) - deviations * stdev(self.levels)

    @property
    def said(self) -> float:
        """The level that can be asked for: the median, or less, so that nine of ten are not more than 4 dB below it."""
        return self.middle if self.floor is None else min(self.middle, self.floor + BELOW)

    @property
    def is_alike(self) -> bool:
        """Whether the median of other pictures is surely near to what is said (docs/math.md, equation 6.11)."""
        if self.floor is None:
            return False
        uncertain = Z * math.sqrt(math.pi / 2 / len(self.levels)) * stdev(self.levels)
        return self.middle - self.said + uncertain <= NEAR


@dataclass(frozen=True)
class ScheduleFile:
    """A calibration: flow times of its steps, what was measured at each speed from slow to fast, provenance.

    `times` are one more than there are steps, falling. `measure` says what levels are of. `done` of `planned` runs of a
    prompt and a seed were measured, `key` tells what they were asked for, so that a calibration that was stopped can go
    on. `repair` is that of its Schedule. `stochastic` says whether the sampler added noise.
    """

    name: str
    times: tuple[float, ...]
    points: tuple[Point, ...]
    provenance: Provenance
    measure: str = PICTURE
    stochastic: bool = False
    repair: float = REPAIR
    done: int = 0
    planned: int = 0
    key: str = ""
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """The steps it was calibrated with."""
        return len(self.times) - 1

    @property
    def pictures(self) -> int:
        """How many pictures were compared at each speed."""
        return max((len(point.levels) for point in self.points), default=0)

    @property
    def finished(self) -> bool:
        """Whether all that was planned was measured."""
        return self.done >= self.planned


def quantile(levels: Sequence[float], share: float) -> float:
    """What all but a share of the levels reach, between the two nearest."""
    return float(np.quantile(levels, share))


def decibels(error: float) -> float:
    """How far a latent is above its relative error, at most 100 dB (docs/math.md, equation 6.5)."""
    return min(-20 * math.log10(max(error, 1e-30)), MOST_DECIBELS)
