"""The whole of Auto-FR: real runs at every speed, compared with the uncached ones, picture by picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from ..errors import FRDiffError
from ..planning.prior import DIAL_OPTIONS, PriorSchedule
from ..planning.schedule import Schedule
from ..schedule_files.model import Point, ScheduleFile

FEWEST_STEPS = 4
STOPPED = "The calibration was stopped early; this is what was known by then. The same again goes on from there."
SPEEDUPS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
PLAIN, FAST, FEWER = "plain", "at {}x", "with fewer steps for {}x"


@dataclass(frozen=True)
class Effort:
    """How much a calibration does: at each of `speedups` so many pictures, at those of `fewer` also with fewer steps.

    A picture is here a prompt with a seed, however many there are in a batch.
    """

    pictures: int
    speedups: tuple[float, ...] = SPEEDUPS
    fewer: tuple[float, ...] = (2.0,)

    @property
    def runs(self) -> float:
        """What it costs at most, in ordinary runs."""
        return self.before(self.pictures)

    @property
    def most_runs(self) -> int:
        """The same in whole runs."""
        return math.ceil(self.runs)

    def before(self, number: int) -> float:
        """What all pictures before one cost."""
        return number * sum(cost for _, _, cost in self.work())

    def work(self) -> Iterator[tuple[str, float, float]]:
        """What is done for one picture: the kind of each run, its speed-up, and its cost in ordinary runs."""
        yield PLAIN, 1.0, 1.0
        yield from ((FAST, speedup, 1 / speedup) for speedup in self.speedups)
        yield from ((FEWER, speedup, 1 / speedup) for speedup in self.fewer)


EFFORTS = {"quick": Effort(1, (1.5, 2.0, 3.0), ()), "normal": Effort(16), "thorough": Effort(32)}


@dataclass(frozen=True)
class FastRun:
    """The final latent (B, C, ...) of a run with a schedule, and the share of its evaluations that were computed.

    `times` are the flow times of its steps and of the result; `stochastic` says whether the sampler added noise.
    """

    result: torch.Tensor
    cost: float
    times: tuple[float, ...]
    stochastic: bool


class Runs(Protocol):
    """The sampling runs of a calibration, by the number of a prompt and a seed; results are (B, C, ...)."""

    def plain(self, number: int, steps: int | None = None) -> torch.Tensor:
        """The final latent (B, C, ...) of an ordinary run, or of one with so many steps."""
        ...

    def fast(self, number: int, schedule: Schedule) -> FastRun:
        """A run as users make it."""
        ...

    def levels(self, results: list[torch.Tensor], truth: torch.Tensor) -> list[tuple[float, ...]]:
        """For each result (B, C, ...) the decibels of its B pictures against the truth's (B, C, ...)."""
        ...


# What share of all is done, what share the next run is, and what is going on; may raise to stop.
Progress = Callable[[float, float, str], None]
Keep = Callable[[ScheduleFile], None]
Key = tuple[str, float]


class Calibration:
    """One calibration in progress; `file` has what is known, and is what a calibration goes on from."""

    def __init__(self, runs: Runs, effort: Effort, file: ScheduleFile, progress: Progress) -> None:
        self._runs, self._effort, self._progress = runs, effort, progress
        self.file = replace(file, planned=effort.pictures, notes=())

    def run(self, keep: Keep) -> ScheduleFile:
        """Measure what is left to measure; `keep` is given the file after each picture."""
        while not self.file.finished:
            self._measure(self.file.done)
            if self.file.points:
                keep(self.file if self.file.finished else replace(self.file, notes=(STOPPED,)))
        return self.file

    def _measure(self, number: int) -> None:
        """Add one picture at every speed; nothing is kept of one that is stopped half-way."""
        done = self._effort.before(number)
        truth, fast, results = torch.empty(0), dict[float, FastRun](), dict[Key, torch.Tensor]()
        for kind, speedup, cost in self._effort.work():
            what = f"picture {number + 1} of {self._effort.pictures}, {kind.format(f'{speedup:g}')}"
            self._progress(done / self._effort.runs, cost / self._effort.runs, what)
            done += cost
            if kind == PLAIN:
                truth = self._runs.plain(number)
            elif kind == FEWER:
                # As much computed, or the part of a step more.
                steps = math.ceil((len(fast[speedup].times) - 1) * fast[speedup].cost - 1e-6)
                results[kind, speedup] = self._runs.plain(number, steps)
            else:
                run = self._runs.fast(number, self._schedule(speedup))
                results[kind, speedup] = run.result
                fast[speedup] = run
        if len(next(iter(fast.values())).times) <= FEWEST_STEPS + 1:
            raise FRDiffError(f"Auto-FR needs more than {FEWEST_STEPS} steps; set more steps.")
        levels = self._runs.levels(list(results.values()), truth)
        self._add(fast, dict(zip(results, levels, strict=True)))

    def _schedule(self, speedup: float) -> Schedule:
        return PriorSchedule(f"{speedup:g}x", replace(DIAL_OPTIONS, repair=self.file.repair), speedup=speedup)

    def _add(self, fast: dict[float, FastRun], levels: dict[Key, tuple[float, ...]]) -> None:
        """Take in a picture's runs by speed-up, and their levels by kind and speed-up."""
        known = {point.speedup: point for point in self.file.points}
        done, first = self.file.done, next(iter(fast.values()))
        points: list[Point] = []
        for speedup, run in fast.items():
            before = known.get(speedup, Point(speedup, run.cost, ()))
            points.append(
                Point(
                    speedup,
                    (before.cost * done + run.cost) / (done + 1),
                    before.levels + levels[FAST, speedup],
                    before.fewer + levels.get((FEWER, speedup), ()),
                )
            )
        self.file = replace(
            self.file, times=first.times, stochastic=first.stochastic, points=tuple(points), done=done + 1
        )
