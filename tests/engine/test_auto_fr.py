"""Auto-FR on a small torch network: what is measured is what users get, and a calibration goes on where it stopped."""

import math
import weakref
from dataclasses import replace
from itertools import pairwise
from statistics import median

import pytest
import torch
from driver import call, flow_level
from solvers import response_of

from frdiff.auto_fr.calibrate import EFFORTS, FEWER, Calibration, Effort, FastRun
from frdiff.blocks.network_id import NetworkId
from frdiff.engine import RunFacts
from frdiff.errors import FRDiffError
from frdiff.planning.presets import for_speedup
from frdiff.planning.schedule import Schedule
from frdiff.runtime.session import Session
from frdiff.schedule_files.calibrated import calibrated
from frdiff.schedule_files.choice import BY_DECIBELS, Wish, front
from frdiff.schedule_files.model import LATENT, Provenance, ScheduleFile, decibels, quantile
from frdiff.schedule_files.store import from_bytes, to_bytes

pytestmark = pytest.mark.quick

STEPS = 24
MADE = Provenance(NetworkId("", "", ""), "FLOW", "euler", "linear", 1.0, "4x8", "0.1.0", "2026-01-01")
NOTHING = ScheduleFile("toy", (), (), MADE, LATENT, key="k")


class Block(torch.nn.Module):
    def __init__(self, width, seed):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)) / 3)

    def forward(self, x, t):
        return x + torch.tanh(x @ self.weight) * t


class Field(torch.nn.Module):
    """A velocity that turns quickly in one part of the run, where a good schedule computes more."""

    def __init__(self, width=8, bump=0.1):
        super().__init__()
        self.bump = bump
        self.blocks = torch.nn.ModuleList([Block(width, seed) for seed in (1, 2)])
        # Underscored, because a public number that a network counts on is a state of its own.
        self._calls = 0

    def forward(self, x, t):
        self._calls += 1
        h = x
        for block in self.blocks:
            h = block(h, t)
        return h * (0.3 + math.exp(-(((t - 0.3) / self.bump) ** 2)))


class Sampler:
    """Euler over flow times, with noise added where asked; counts ordinary runs by network calls."""

    def __init__(self, noise=0.0, rows=4):
        self.network = Field()
        self.noise = noise
        self.rows = rows

    def __call__(self, make, seed, steps=None):
        with torch.inference_mode():
            return self.sampled(make, seed, steps or STEPS)

    def sampled(self, make, seed, count):
        sigmas = [1 - i / count for i in range(count + 1)]
        response = None if self.noise else response_of("euler", sigmas)
        engine = make(RunFacts(sigmas, flow_level, response=response))
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, self.rows, 8, generator=generator)
        try:
            for sigma, following in zip(sigmas, sigmas[1:], strict=False):
                x = self.step(engine, x, sigma, following)
                x = x + self.noise * following * torch.randn(x.shape, generator=generator)
        finally:
            engine.close()
        return x

    def step(self, engine, x, sigma, following):
        engine.begin_evaluation(sigma, x)
        velocity = call(engine, "condition", self.network, lambda: self.network(x, sigma))
        engine.end_evaluation(x - sigma * velocity)
        return x + (following - sigma) * velocity


class ToyRuns:
    """The runs of a calibration on the toy."""

    def __init__(self, sampler):
        self.sampler = sampler
        self.alive = weakref.WeakSet()
        self.most_alive = 0

    def plain(self, number, steps=None):
        return self.kept(self.sampler(lambda facts: Session(Schedule("every step"), facts), number, steps))

    def fast(self, number, schedule):
        sessions = []

        def make(facts):
            sessions.append(Session(schedule, facts))
            return sessions[0]

        result = self.kept(self.sampler(make, number))
        counts = sessions[0].report.counts
        times = tuple(flow_level(sigma).time for sigma in sessions[0].sigmas)
        return FastRun(result, counts["full"] / sum(counts.values()), times, bool(sessions[0].report.stochastic))

    def levels(self, results, truth):
        return [(decibels(float((result - truth).norm() / truth.norm())),) for result in results]

    def kept(self, result):
        self.alive.add(result)
        self.most_alive = max(self.most_alive, len(self.alive))
        return result


def calibration(sampler, effort, file=NOTHING, progress=lambda *_: None):
    return Calibration(ToyRuns(sampler), effort, file, progress)


@pytest.fixture
def sampler():
    return Sampler()


SMALL = Effort(3, (1.5, 2.0, 3.0), (2.0,))


def test_what_is_measured_is_what_a_run_with_the_file_has(sampler):
    file = calibration(sampler, SMALL).run(lambda file: None)
    runs = ToyRuns(sampler)
    for point in file.points:
        for number, level in enumerate(point.levels):
            run = runs.fast(number, calibrated(file, Wish(point.speedup)))
            assert runs.levels([run.result], runs.plain(number)) == [(level,)]
            assert run.cost == pytest.approx(point.cost)
    at_two = file.points[1]
    steps = math.ceil(STEPS * at_two.cost)
    assert at_two.fewer == tuple(runs.levels([runs.plain(n, steps)], runs.plain(n))[0][0] for n in range(3))
    assert (file.done, file.planned, file.pictures, file.steps, file.notes) == (3, 3, 3, STEPS, ())


def test_by_error_keeps_its_word_on_pairs_that_were_not_calibrated(sampler):
    file = calibration(sampler, EFFORTS["normal"]).run(lambda file: None)
    runs, points = ToyRuns(sampler), front(file.points)
    truths = {number: runs.plain(number) for number in range(1000, 1032)}
    assert len(points) >= 4
    for point in points:
        schedule = calibrated(file, Wish(by=BY_DECIBELS, decibels=point.said - 0.01))
        assert schedule.speedup == point.speedup
        levels = [runs.levels([runs.fast(n, schedule).result], truth)[0][0] for n, truth in truths.items()]
        assert abs(median(levels) - point.said) < 2 and quantile(levels, 0.1) > point.said - 4


def test_the_dial_gives_the_same_with_and_without_a_file(sampler):
    file, runs = calibration(sampler, EFFORTS["quick"]).run(lambda file: None), ToyRuns(sampler)
    assert torch.equal(runs.fast(7, calibrated(file, Wish(2.5))).result, runs.fast(7, for_speedup(2.5)).result)


def test_quick_costs_at_most_three_ordinary_runs(sampler):
    calibration(sampler, EFFORTS["quick"]).run(lambda file: None)
    assert sampler.network._calls <= 3 * STEPS


@pytest.mark.parametrize("effort", [EFFORTS["quick"], SMALL])
def test_what_it_says_it_costs_is_what_it_costs(sampler, effort):
    parts = []
    calibration(sampler, effort, progress=lambda done, share, _: parts.append((done, share))).run(lambda file: None)
    assert sampler.network._calls / STEPS == pytest.approx(effort.runs, rel=0.1)
    assert parts[0][0] == 0 and sum(parts[-1]) == pytest.approx(1)
    assert all(done + share == pytest.approx(after) for (done, share), (after, _) in pairwise(parts))


def test_no_more_is_remembered_than_the_results_of_one_picture(sampler):
    known = calibration(sampler, SMALL)
    known.run(lambda file: None)
    assert known._runs.most_alive <= len(list(SMALL.work())) and not known._runs.alive


class Stopped(BaseException):
    pass


def stopped_after(sampler, moments, file=NOTHING):
    """The files that were kept when it was stopped at a moment, None for the last where it came to its end."""
    kept, calls = [], []

    def progress(*_):
        if len(calls) == moments:
            raise Stopped
        calls.append(1)

    try:
        calibration(sampler, SMALL, file, progress).run(kept.append)
    except Stopped:
        return kept, False
    return kept, True


def test_stopped_at_any_moment_it_goes_on_and_ends_at_the_same(sampler):
    whole = calibration(sampler, SMALL).run(lambda file: None)
    finished, moments = False, 0
    while not finished:
        kept, finished = stopped_after(sampler, moments)
        for file in kept:
            assert from_bytes(to_bytes(file), "kept") == file
            assert file.finished != any("stopped" in note for note in file.notes)
        if not finished:
            (*_, again), done = stopped_after(sampler, 10**6, kept[-1] if kept else NOTHING)
            assert done and again == whole
        moments += 4
    assert moments > 15 and kept[-1] == whole


def test_a_finished_calibration_goes_on_with_more_pictures(sampler):
    few = calibration(sampler, SMALL).run(lambda file: None)
    more = calibration(sampler, replace(SMALL, pictures=5), few).run(lambda file: None)
    assert more == calibration(sampler, replace(SMALL, pictures=5)).run(lambda file: None)


def test_a_sampler_that_adds_noise_is_calibrated_like_any_other():
    file = calibration(Sampler(noise=0.3), EFFORTS["quick"]).run(lambda file: None)
    assert file.stochastic and front(file.points)


def test_too_few_steps_are_refused(sampler):
    short = ToyRuns(lambda make, seed, steps=None: sampler(make, seed, 4))
    with pytest.raises(FRDiffError, match="more than 4 steps"):
        Calibration(short, EFFORTS["quick"], NOTHING, lambda *_: None).run(lambda file: None)


def test_the_kinds_of_runs_of_a_picture():
    kinds = [kind for kind, *_ in SMALL.work()]
    assert len(kinds) == 5 and kinds.count(FEWER) == 1
