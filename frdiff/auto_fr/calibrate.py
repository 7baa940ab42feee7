"""The whole of Auto-FR: record, search, try, compare with what needs no calibration, and write down what is known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..errors import FRDiffError
from ..facts import RunFacts
from ..families import Family
from ..forecast import KRIGING
from ..prior import PriorSchedule
from ..provenance import Provenance, network_of
from ..schedule import Plan, StepKind, plan_of
from ..schedule_file import CALIBRATED, PRIOR, Point, ScheduleFile
from .profile import MakeEngine, Rollout, Sample, Trajectory, final_error, record, roll_out
from .refine import Move, climb, keyframes_of, plan_between
from .search import ForecastCost, Geometry, PartialCost, SegmentCosts, front, geometry, interpolated_gains, total_cost

# Seeds of the runs that schedules are judged on lie this far from those that they are made from.
HELD_OUT = 1000
FASTEST = 8
FEWEST_STEPS = 4
# Suppressing peaks against adding up: docs/findings_auto_fr.md.
PEAK = 2.0
PEAKS = (2.0, 3.0, 1.0)

# A schedule replaces the prior only when it is clearly better: by about 0.3 dB.
MARGIN = 0.97

STOPPED = "The calibration was stopped early; this is what was known by then."
NOT_JUDGED = "Judged on the calibration's own run."

# From 0 to 1, and what is going on; may raise to stop.
Progress = Callable[[float, str], None]
Keep = Callable[[ScheduleFile], None]


@dataclass(frozen=True)
class Effort:
    """How much a calibration may do.

    `runs` are recorded; at `places` (parts of the run) it is measured how far an error travels; `speedups` are
    tried in real runs, with the schedules of `peaks` searches and these `repairs` (Schedule), and climbed from for
    `seconds` in all; they are judged on `held_out` further runs.
    """

    runs: int
    places: tuple[float, ...]
    speedups: tuple[float, ...]
    peaks: int = 1
    seconds: float = 0.0
    held_out: int = 0
    repairs: tuple[float, ...] = (0.5, 0.75)


EFFORTS: dict[str, Effort] = {
    "quick": Effort(1, (), (2.0, 3.0)),
    "normal": Effort(3, (0.1, 0.4, 0.75), (1.5, 2.0, 3.0), held_out=3),
    "thorough": Effort(
        6, (0.1, 0.3, 0.5, 0.7, 0.85), (1.5, 2.0, 3.0, 4.0), peaks=2, seconds=300.0, held_out=6,
        repairs=(0.0, 0.5, 0.75, 1.0),
    ),
}  # fmt: skip
# From fewer runs the search finds what suits those runs: its schedules lose on others (docs/findings_auto_fr.md).
FEWEST_RUNS = 3


class Calibration:
    """One calibration in progress; `file()` is what is known so far."""

    def __init__(
        self, sample: Sample, effort: Effort, made: Provenance, name: str, seed: int,
        families: dict[str, Family] | None = None, progress: Progress = lambda part, text: None,
    ) -> None:  # fmt: skip
        self._sample = sample
        self._effort = effort
        self._made = made
        self._name = name
        self._seed = seed
        self._families = families
        self._progress = progress
        self._runs: list[Trajectory] = []
        self._geometries: list[Geometry] = []
        self._points: list[Point] = []
        self._tried: dict[int, Point] = {}
        self.moves: list[Move] = []
        self.gains = np.ones(1)

    def run(self, keep: Keep) -> ScheduleFile:
        """Do it all; `keep` is given each better file as soon as it is known."""
        self._record()
        self._measure_gains()
        self._search()
        keep(self.file(STOPPED))
        for number, speedup in enumerate(self._effort.speedups):
            self._try(speedup, 0.5 + 0.3 * number / len(self._effort.speedups))
            keep(self.file(STOPPED))
        self._judge(keep)
        file = self.file()
        keep(file)
        return file

    def file(self, *notes: str) -> ScheduleFile:
        """What is known, as a file; raises FRDiffError before there is a schedule."""
        if not self._points:
            raise FRDiffError("The calibration was stopped before anything was known, so no file was written.")
        first = self._runs[0]
        points = verdicts([self._tried.get(i) or self._like_tried(point) for i, point in enumerate(self._points)])
        judged = all(point.prior_error is not None for point in self._tried.values()) and bool(self._tried)
        own = (NOT_JUDGED,) if judged and not self._effort.held_out else ()
        return ScheduleFile(
            self._name, first.times, tuple(points), self._made, KRIGING,
            stochastic=first.stochastic, partial_cost=first.partial_cost if first.stochastic else None,
            method="refined" if self.moves else "search", held_out=self._effort.held_out if judged else 0,
            notes=(*notes, *own),
        )  # fmt: skip

    def _record(self) -> None:
        for number in range(self._effort.runs):
            self._progress(0.3 * number / self._effort.runs, f"Recording run {number + 1} of {self._effort.runs}")
            trajectory, network = record(self._sample, self._seed + number, self._families, anchor_every=number + 4)
            if len(trajectory.times) <= FEWEST_STEPS:
                raise FRDiffError(f"Auto-FR needs at least {FEWEST_STEPS} steps; set more steps.")
            self._runs.append(trajectory)
            self._geometries.append(geometry(trajectory))
            if number == 0:
                self._made = replace(self._made, network=network_of(network), stages=trajectory.stages)

    def _measure_gains(self) -> None:
        """How far an error at a step moves the final latent: leave out a few steps there, and finish the run."""
        steps, width = self._steps, max(self._steps // 10, 1)
        if not self._effort.places:
            self.gains = np.ones(steps)
            return
        blocks = {(min(max(round(part * steps), 1), steps - width), width) for part in self._effort.places}
        places = sorted({*blocks, (steps - 1, 1)})
        measured: dict[float, list[float]] = {}
        for number, (at, wide) in enumerate(places):
            self._progress(0.3 + 0.2 * number / len(places), f"Measuring how errors travel from step {at + 1}")
            for run in range(len(self._runs)):
                gain = self._gain(run, at, wide)
                if gain > 0:
                    measured.setdefault(at + (wide - 1) / 2, []).append(math.log(gain))
        means = {place: math.exp(float(np.mean(logs))) for place, logs in measured.items()}
        self.gains = interpolated_gains(means, steps) if means else np.ones(steps)

    def _gain(self, run: int, at: int, wide: int) -> float:
        """The final latent's change when the steps from `at` are not computed, over the sum of their own moves."""
        keyframes = [step for step in range(self._steps) if not at <= step < at + wide]
        moved = self._error(plan_between(keyframes, self._steps, self._between), self._runs[run])
        unit = self._cost_of([self._geometries[run]], np.ones(self._steps), 1.0)(max(at - 2, 0), at - 1, at + wide)
        return moved / unit if unit > 0 else 0.0

    def _search(self) -> None:
        self._progress(0.5, "Searching the schedules of every speed")
        steps = self._steps
        self._fronts = {
            peak: front(self._cost(peak), steps, max(8, steps // 3)) for peak in PEAKS[: self._effort.peaks]
        }
        cost = self._cost()
        found = [keyframes for keyframes in self._fronts[PEAK] if len(keyframes) >= max(steps / FASTEST, 1)]
        self._points = [
            self._point(plan_between(keyframes, steps, self._between), total_cost(cost, keyframes, steps) ** (1 / PEAK))
            for keyframes in reversed(found)
        ]

    def _try(self, speedup: float, part: float) -> None:
        """Run the schedules of a speed-up that the searches found, and the prior's, and climb from the best."""
        index = self._nearest(speedup)
        point = self._points[index]
        self._progress(part, f"Trying {1 / point.cost:.2g}x")
        count = point.kinds.count(StepKind.FULL)
        found = [plan_between(f[count - 1], self._steps, self._between) for f in self._fronts.values() if f[count - 1]]
        prior = self._prior(point)
        repairs = (0.0,) if self._runs[0].stochastic else self._effort.repairs
        plan, logs, repair = min(
            ((prior, self._logs(prior, self._runs, repair), repair) for repair in repairs), key=_mean_log
        )
        for other in found if len(self._runs) >= FEWEST_RUNS else ():
            theirs = self._logs(other, self._runs, repair)
            if clearly_less(theirs, logs, errors=2):
                plan, logs = other, theirs
        error = float(logs.mean())
        if self._effort.seconds:
            cost = self._cost()
            plan, error, moves = climb(
                plan, error, lambda other: self._objective(other, repair),
                lambda keyframes: total_cost(cost, keyframes, self._steps),
                time.monotonic() + self._effort.seconds / len(self._effort.speedups),
            )  # fmt: skip
            self.moves += moves
        expected = total_cost(self._cost(), keyframes_of(plan), self._steps) ** (1 / PEAK)
        chosen = replace(self._point(plan, expected), repair=repair)
        if self._effort.held_out == 0:
            before = self._objective(prior, PriorSchedule.repair)
            chosen = replace(chosen, error=math.exp(error), prior_error=math.exp(before))
        self._tried[index] = chosen

    def _judge(self, keep: Keep) -> None:
        """Compare with the prior and with fewer steps on runs that were not used."""
        truths: list[Trajectory] = []
        for number in range(self._effort.held_out):
            self._progress(0.8 + 0.1 * number / self._effort.held_out, "Recording runs to judge by")
            truths.append(record(self._sample, self._seed + HELD_OUT + number, self._families)[0])
        for number, (index, point) in enumerate(list(self._tried.items()) if truths else []):
            self._progress(0.9 + 0.1 * number / len(self._tried), f"Judging {1 / point.cost:.2g}x")
            plan = plan_of([(kind, 1.0) for kind in point.kinds])
            ours = self._logs(plan, truths, point.repair)
            priors = self._logs(self._prior(point), truths, PriorSchedule.repair)
            self._tried[index] = replace(
                point,
                error=math.exp(float(ours.mean())),
                prior_error=math.exp(float(priors.mean())),
                fewer_error=self._mean_fewer(point, truths),
                source=CALIBRATED if clearly_less(ours, priors) else PRIOR,
            )
            keep(self.file(STOPPED))

    @property
    def _steps(self) -> int:
        return len(self._runs[0].times) - 1

    @property
    def _between(self) -> StepKind:
        return StepKind.PARTIAL if self._runs[0].stochastic else StepKind.SKIP

    def _cost(self, peak: float = PEAK) -> SegmentCosts:
        return self._cost_of(self._geometries, self.gains, peak)

    def _cost_of(self, runs: list[Geometry], gains: np.ndarray, peak: float) -> SegmentCosts:
        if self._runs[0].stochastic:
            return PartialCost(runs, gains, peak)
        return ForecastCost(runs, gains, KRIGING, peak)

    def _like_tried(self, point: Point) -> Point:
        """A point that was not tried, with what was best at the nearest that was: repair, and whose keyframes."""
        if not self._tried:
            return point
        near = min(self._tried.values(), key=lambda other: abs(other.cost - point.cost))
        if near.kinds == tuple(step.kind for step in self._prior(near)):
            point = self._point(self._prior(point), point.expected)
        return replace(point, repair=near.repair)

    def _point(self, plan: Plan, expected: float) -> Point:
        cheap = self._runs[0].partial_cost or 0.0
        kinds = tuple(step.kind for step in plan)
        cost = (kinds.count(StepKind.FULL) + cheap * kinds.count(StepKind.PARTIAL)) / len(kinds)
        return Point(kinds, cost, expected)

    def _nearest(self, speedup: float) -> int:
        return min(range(len(self._points)), key=lambda i: abs(self._points[i].cost - 1 / speedup))

    def _prior(self, point: Point) -> Plan:
        return PriorSchedule("prior", speedup=1 / point.cost).plan(self._runs[0].course)

    def _error(self, plan: Plan, trajectory: Trajectory, repair: float = 0.0) -> float:
        return final_error(roll_out(self._sample, plan, trajectory, self._families, repair), trajectory.final)

    def _logs(self, plan: Plan, runs: list[Trajectory], repair: float) -> np.ndarray:
        """Logarithms of the errors, whose mean is what decibels add up to."""
        return np.log([max(self._error(plan, run, repair), 1e-30) for run in runs])

    def _objective(self, plan: Plan, repair: float = 0.0) -> float:
        return float(self._logs(plan, self._runs, repair).mean())

    def _mean_fewer(self, point: Point, truths: list[Trajectory]) -> float | None:
        steps = max(round(point.cost * self._steps), 1)
        finals = [plain_run(self._sample, truth.seed, steps) for truth in truths]
        errors = [final_error(final, truth.final) for final, truth in zip(finals, truths, strict=True)]
        return math.exp(float(np.mean(np.log(np.maximum(errors, 1e-30)))))


def verdicts(points: list[Point]) -> list[Point]:
    """Give the prior the points where it was not clearly worse, their neighbours, and those outside what was tried."""
    tried = {i: point.source == CALIBRATED and point.error < MARGIN * point.prior_error
             for i, point in enumerate(points)
             if point.error is not None and point.prior_error is not None}  # fmt: skip

    def won(i: int) -> bool:
        below = max((j for j in tried if j <= i), default=None)
        above = min((j for j in tried if j >= i), default=None)
        return all(j is not None and tried[j] for j in (below, above))

    return [replace(point, source=CALIBRATED if not tried or won(i) else PRIOR) for i, point in enumerate(points)]


def clearly_less(ours: np.ndarray, others: np.ndarray, errors: float = 1) -> bool:
    """Whether the mean of paired differences is below zero by more than so many of its standard errors."""
    apart = ours - others
    error = apart.std(ddof=1) / math.sqrt(len(apart)) if len(apart) > 1 else 0.0
    return bool(apart.mean() < -errors * error)


def _mean_log(tried: tuple[Plan, np.ndarray, float]) -> float:
    return float(tried[1].mean())


def plain_run(sample: Sample, seed: int, steps: int | None = None) -> torch.Tensor:
    """The final latent of an ordinary run."""

    def make(facts: RunFacts) -> Rollout:
        count = len(facts.sigmas) - 1
        return Rollout(plan_between(range(count), count, StepKind.SKIP), None, facts)

    engine: MakeEngine = make
    return sample(engine, seed, steps).detach().cpu()
