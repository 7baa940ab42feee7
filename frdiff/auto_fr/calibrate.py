"""The whole of Auto-FR: record, search, try, compare with what needs no calibration, and write down what is known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from ..errors import FRDiffError
from ..forecasting.rules import KRIGING
from ..planning.plan import Plan, StepKind
from ..schedule_files.format import MOST_MOVES
from ..schedule_files.model import CALIBRATED, PRIOR, Move, Point, Provenance, ScheduleFile
from .acceptance import clearly_less, mean_error, verdicts
from .effort import FEWEST_RUNS, Effort
from .jobs import Do, FewerSteps, Job, Recording, Trial
from .refine import climb
from .runs import PEAK, Runs
from .search import fewest_full, front, interpolated_gains
from .trajectory import Trajectory

# Seeds of the runs that schedules are judged on lie this far from those that they are made from.
HELD_OUT = 1000
FEWEST_STEPS = 4
PEAKS = (PEAK, 3.0, 1.0)
# Tables of the search grow with the square of the steps and with the gap, and a file has to stay small.
LONGEST_GAP = 32
MOST_POINTS = 64

STOPPED = "The calibration was stopped early; this is what was known by then."
NOT_JUDGED = "Judged on the calibration's own run."

# From 0 to 1, and what is going on; may raise to stop.
Progress = Callable[[float, str], None]
Keep = Callable[[ScheduleFile], None]
Part = tuple[float, float]


@dataclass(frozen=True)
class Attempt:
    """A plan that was run with a repair, and the logarithms (R,) of its errors on the R recorded runs."""

    plan: Plan
    repair: float
    logs: np.ndarray


class Calibration:
    """One calibration in progress; `file()` is what is known so far.

    `do` makes the sampling runs. What is known depends on their results alone, not on where or when they are made.
    """

    def __init__(
        self, do: Do, effort: Effort, made: Provenance, name: str, seed: int,
        progress: Progress = lambda part, text: None,
    ) -> None:  # fmt: skip
        self._do = do
        self._effort = effort
        self._made = made
        self._name = name
        self._seed = seed
        self._progress = progress
        self._runs = Runs()
        self._points: list[Point] = []
        self._priors: dict[int, Attempt] = {}
        self._attempts: dict[int, Attempt] = {}
        self._tried: dict[int, Point] = {}
        self._judged = False
        self._moves: list[Move] = []

    def run(self, keep: Keep) -> ScheduleFile:
        """Do it all; `keep` is given each better file as soon as it is known."""

        def known() -> None:
            keep(self.file(STOPPED))

        self._record()
        self._measure_gains()
        self._search()
        known()
        for work in (self._try_repairs, self._try_searched, self._climb, self._judge):
            work(known)
        file = self.file()
        keep(file)
        return file

    def file(self, *notes: str) -> ScheduleFile:
        """What is known, as a file; raises FRDiffError before there is a schedule."""
        if not self._points:
            raise FRDiffError("The calibration was stopped before anything was known, so no file was written.")
        first = self._runs.recorded[0]
        points = verdicts([self._tried.get(i) or self._like_tried(point) for i, point in enumerate(self._points)])
        own = (NOT_JUDGED,) if self._tried and not self._judged else ()
        return ScheduleFile(
            self._name, first.times, tuple(points), self._made, KRIGING,
            stochastic=first.stochastic, partial_cost=first.partial_cost if first.stochastic else None,
            method="refined" if self._moves else "search", held_out=self._effort.held_out if self._judged else 0,
            notes=(*notes, *own), milliseconds=first.milliseconds, moves=tuple(self._moves[-MOST_MOVES:]),
        )  # fmt: skip

    def _results(self, jobs: Sequence[Job], doing: str, part: Part) -> Iterator[Any]:
        """The results of jobs, in order; tells the progress before each."""
        results = self._do(jobs)
        for number in range(len(jobs)):
            self._progress(part[0] + (part[1] - part[0]) * number / len(jobs), f"{doing} ({number + 1}/{len(jobs)})")
            yield next(results)

    def _logs(
        self, tries: Sequence[tuple[Plan, float]], runs: list[Trajectory], doing: str, part: Part
    ) -> Iterator[np.ndarray]:
        """For each plan and repair the logarithms (R,) of its errors on the runs; decibels add up to their mean."""
        jobs = [Trial(run, plan, repair) for plan, repair in tries for run in runs]
        errors = self._results(jobs, doing, part)
        for _ in tries:
            yield logs_of(islice(errors, len(runs)))

    def _record(self) -> None:
        jobs = [Recording(self._seed + number, anchor_every=number + 4) for number in range(self._effort.runs)]
        for trajectory in self._results(jobs, "Recording runs", (0.0, 0.3)):
            if len(trajectory.times) <= FEWEST_STEPS:
                raise FRDiffError(f"Auto-FR needs at least {FEWEST_STEPS} steps; set more steps.")
            if not self._runs.recorded:
                self._made = replace(self._made, stages=trajectory.stages)
            self._runs.add(trajectory)

    def _measure_gains(self) -> None:
        """How far an error at a step moves the final latent: leave out a few steps there, and finish the run."""
        runs, steps = self._runs.recorded, self._runs.steps
        width = max(steps // 10, 1)
        if not self._effort.places:
            return
        blocks = {(min(max(round(part * steps), 1), steps - width), width) for part in self._effort.places}
        places = sorted({*blocks, (steps - 1, 1)})
        without = [self._runs.plan([s for s in range(steps) if not at <= s < at + wide]) for at, wide in places]
        jobs = [Trial(run, plan) for plan in without for run in runs]
        moved = self._results(jobs, "Measuring how errors travel", (0.3, 0.5))
        measured: dict[float, list[float]] = {}
        for at, wide in places:
            for unit, error in zip(self._runs.units(at, wide), islice(moved, len(runs)), strict=True):
                if unit > 0 and error > 0:
                    measured.setdefault(at + (wide - 1) / 2, []).append(math.log(error / unit))
        means = {place: math.exp(float(np.mean(logs))) for place, logs in measured.items()}
        if means:
            self._runs.gains = interpolated_gains(means, steps)

    def _search(self) -> None:
        self._progress(0.5, "Searching the schedules of every speed")
        runs, steps = self._runs, self._runs.steps
        self._fronts = {
            peak: front(runs.cost(peak), steps, min(max(8, steps // 3), LONGEST_GAP))
            for peak in PEAKS[: self._effort.peaks]
        }
        found = [keyframes for keyframes in self._fronts[PEAK] if len(keyframes) >= fewest_full(steps)]
        kept = found[:: math.ceil(len(found) / MOST_POINTS)]
        self._points = [runs.point(runs.plan(keyframes)) for keyframes in reversed(kept)]

    def _try_repairs(self, known: Callable[[], None]) -> None:
        """At each speed-up, the prior's keyframes with each repair."""
        own = self._runs.prior_repair
        repairs = [own] if self._runs.stochastic else sorted({own, *self._effort.repairs})
        priors = {i: self._runs.prior(self._points[i]) for i in map(self._nearest, self._effort.speedups)}
        tries = [(plan, repair) for plan in priors.values() for repair in repairs]
        logs = self._logs(tries, self._runs.recorded, "Trying repairs", (0.5, 0.6))
        for index, plan in priors.items():
            attempts = [Attempt(plan, repair, next(logs)) for repair in repairs]
            prior = self._priors[index] = attempts[repairs.index(own)]
            better = [attempt for attempt in attempts if clearly_less(attempt.logs, prior.logs)]
            self._note(index, min(better or [prior], key=lambda attempt: attempt.logs.mean()))
            known()

    def _try_searched(self, known: Callable[[], None]) -> None:
        """At each speed-up, what the searches found."""
        if len(self._runs.recorded) < FEWEST_RUNS:
            return
        counts = {index: self._points[index].kinds.count(StepKind.FULL) for index in self._attempts}
        found = {index: [self._runs.plan(f[count - 1]) for f in self._fronts.values() if f[count - 1]]
                 for index, count in counts.items()}  # fmt: skip
        tries = [(plan, self._attempts[index].repair) for index, plans in found.items() for plan in plans]
        logs = self._logs(tries, self._runs.recorded, "Trying searched schedules", (0.6, 0.7))
        for index, plans in found.items():
            for plan in plans:
                best, theirs = self._attempts[index], next(logs)
                if clearly_less(theirs, best.logs):
                    self._note(index, Attempt(plan, best.repair, theirs))
            known()

    def _climb(self, known: Callable[[], None]) -> None:
        """Better schedules from small changes of the best."""
        if not (self._effort.seconds or self._effort.climbed):
            return
        for number, (index, best) in enumerate(list(self._attempts.items())):
            part = 0.7 + 0.1 * number / len(self._attempts)

            def logs(plans: list[Plan], best: Attempt = best, part: float = part) -> Iterator[np.ndarray]:
                tries = [(plan, best.repair) for plan in plans]
                return self._logs(tries, self._runs.recorded, "Climbing", (part, part))

            seconds = self._effort.seconds / len(self._attempts) if self._effort.seconds else math.inf
            plan, reached, moves = climb(
                best.plan, best.logs, logs, self._runs.total, time.monotonic() + seconds, self._effort.climbed
            )
            self._moves += moves
            self._note(index, Attempt(plan, best.repair, reached))
            known()

    def _judge(self, known: Callable[[], None]) -> None:
        """Compare with the prior and with fewer steps on runs that were not used."""
        if not self._effort.held_out:
            return
        seeds = range(self._seed + HELD_OUT, self._seed + HELD_OUT + self._effort.held_out)
        truths = list(self._results([Recording(seed) for seed in seeds], "Recording runs to judge by", (0.8, 0.9)))
        jobs: list[Job] = []
        for index, point in self._tried.items():
            ours, prior = Plan.of(point.kinds), self._priors[index]
            jobs += [Trial(truth, ours, point.repair) for truth in truths]
            jobs += [Trial(truth, prior.plan, prior.repair) for truth in truths]
            jobs += [FewerSteps(truth, max(round(point.cost * self._runs.steps), 1)) for truth in truths]
        errors = self._results(jobs, "Judging", (0.9, 1.0))
        for index, point in list(self._tried.items()):
            ours, priors, fewer = (logs_of(islice(errors, len(truths))) for _ in range(3))
            self._tried[index] = replace(
                point, error=mean_error(ours), prior_error=mean_error(priors), fewer_error=mean_error(fewer),
                source=CALIBRATED if clearly_less(ours, priors) else PRIOR,
            )  # fmt: skip
            known()
        self._judged = True

    def _note(self, index: int, best: Attempt) -> None:
        """Take an attempt for the best at its speed-up; its errors here stand until it is judged."""
        self._attempts[index] = best
        self._tried[index] = replace(
            self._runs.point(best.plan), repair=best.repair, error=mean_error(best.logs),
            prior_error=mean_error(self._priors[index].logs),
        )  # fmt: skip

    def _like_tried(self, point: Point) -> Point:
        """A point that was not tried, with what was best at the nearest that was: repair, and whose keyframes."""
        if not self._tried:
            return point
        near = min(self._tried.values(), key=lambda other: abs(other.cost - point.cost))
        if near.kinds == self._runs.prior(near).kinds:
            point = replace(self._runs.point(self._runs.prior(point)), expected=point.expected)
        return replace(point, repair=near.repair)

    def _nearest(self, speedup: float) -> int:
        return min(range(len(self._points)), key=lambda i: abs(self._points[i].cost - 1 / speedup))


def logs_of(errors: Iterator[float]) -> np.ndarray:
    """Logarithms (R,) of R errors, also of none."""
    return np.log([max(error, 1e-30) for error in errors])
