"""Auto-FR on a small torch network: what is recorded, what the search expects, and whether it is better."""

import json
import math
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from driver import call, flow_level
from solvers import response_of

from frdiff.auto_fr.acceptance import verdicts
from frdiff.auto_fr.calibrate import Calibration
from frdiff.auto_fr.effort import EFFORTS, Effort
from frdiff.auto_fr.jobs import Trial, in_turn
from frdiff.auto_fr.recorder import record
from frdiff.auto_fr.refine import climb, neighbours
from frdiff.auto_fr.rollout import final_error, plain_run, roll_out
from frdiff.auto_fr.search import ForecastCost, Geometry, PartialCost, front, geometry
from frdiff.blocks.families import Family
from frdiff.blocks.network_id import NetworkId
from frdiff.engine import RunFacts
from frdiff.errors import FRDiffError
from frdiff.forecasting.rules import KRIGING
from frdiff.planning.plan import Plan, StepKind
from frdiff.sampler.noise_levels import half_log_snr
from frdiff.schedule_files.format import from_bytes, to_bytes
from frdiff.schedule_files.model import CALIBRATED, Point, Provenance

pytestmark = pytest.mark.quick

STEPS = 24
MADE = Provenance(NetworkId("", "", ""), "FLOW", "euler", "linear", 1.0, "4x8", 0, "0.1.0", "2026-01-01")


class Block(torch.nn.Module):
    def __init__(self, width, seed):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)) / 3)
        self.slow = 0.0

    def forward(self, x, t):
        if self.slow:
            time.sleep(self.slow)
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


FAMILIES = {f"{__name__}.Block": Family(((0, "x"),))}


class Sampler:
    """Euler over flow times, with noise added where asked; counts ordinary runs by network calls."""

    def __init__(self, noise=0.0, rows=4):
        self.network = Field()
        self.noise = noise
        self.rows = rows

    def __call__(self, make, seed, steps=None):
        count = steps or STEPS
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


@pytest.fixture
def sampler():
    return Sampler()


def skipping(keyframes):
    return Plan.with_keyframes(keyframes, STEPS)


EVERY_OTHER = skipping(range(0, STEPS, 2))


def calibration(sampler, effort, **more):
    return Calibration(in_turn(sampler, FAMILIES), effort, MADE, "toy", 1, **more)


def test_a_full_run_is_replayed_bit_for_bit_without_the_network(sampler):
    trajectory, network = record(sampler, 3), sampler.network
    before = network._calls
    assert torch.equal(roll_out(sampler, skipping(range(STEPS)), trajectory), trajectory.final)
    assert network._calls == before
    assert torch.equal(plain_run(sampler, 3), trajectory.final)


def test_a_roll_out_computes_only_what_differs_from_the_record(sampler):
    trajectory, network = record(sampler, 3), sampler.network
    before = network._calls
    with_record = roll_out(sampler, skipping([*range(10), *range(12, STEPS)]), trajectory)
    assert network._calls - before == STEPS - 12
    trajectory.evaluations = []
    assert torch.equal(with_record, roll_out(sampler, skipping([*range(10), *range(12, STEPS)]), trajectory))


def test_the_cost_is_the_length_of_the_sum_of_the_errors(sampler):
    trajectory = record(sampler, 3)
    run = geometry(trajectory)
    (only,) = trajectory.evaluations[0].outputs
    outputs = torch.stack([e.outputs[only].reshape(-1) for e in trajectory.steps()]).double().numpy()
    gains = np.linspace(0.5, 2, STEPS)
    for before, last, following in ((0, 0, 3), (2, 5, 9), (10, 15, STEPS)):
        known = [last] if before == last else [before, last]
        total = np.zeros(outputs.shape[1])
        for step in range(last + 1, following):
            weights = KRIGING.weights(trajectory.times[step], [trajectory.times[k] for k in known])
            total += gains[step] / STEPS * (np.array(weights) @ outputs[known] - outputs[step])
        expected = np.linalg.norm(total) / float(trajectory.final.double().norm())
        assert ForecastCost([run], gains, peak=1)(before, last, following) == pytest.approx(expected, rel=1e-4)


def with_partial_errors(power, size):
    """A run whose partial steps have errors of this size at a distance of 1 in half the log-SNR."""
    times = tuple(1 - step / STEPS for step in range(STEPS + 1))
    errors = {
        (keyframe, step): size * abs(half_log_snr(times[step]) - half_log_snr(times[keyframe])) ** power
        for keyframe in (2, 8, 14) for step in range(keyframe + 1, keyframe + 5)
    }  # fmt: skip
    return Geometry(times, np.eye(STEPS), np.ones(STEPS), 1.0, errors)


def test_partial_errors_are_carried_over_by_each_runs_own_power():
    gains, runs = np.ones(STEPS), [with_partial_errors(0.5, 0.1), with_partial_errors(1.5, 0.3)]
    levels = [half_log_snr(time) for time in runs[0].times]
    alone = [sum(size * abs(levels[step] - levels[4]) ** power for step in (5, 6, 7))
             for power, size in ((0.5, 0.1), (1.5, 0.3))]  # fmt: skip
    for run, expected in zip(runs, alone, strict=True):
        assert PartialCost([run], gains, peak=1)(4, 4, 8) == pytest.approx(expected, rel=1e-6)
    both, turned = (PartialCost(order, gains, peak=1)(4, 4, 8) for order in (runs, runs[::-1]))
    assert both == turned == pytest.approx(sum(alone) / 2, rel=1e-6)


def test_what_the_search_expects_ranks_real_runs(sampler):
    trajectory = record(sampler, 3)
    known = calibration(sampler, EFFORTS["thorough"])
    known._runs.add(trajectory)
    known._measure_gains()
    random_ = random.Random(1)
    masks = [(0, *sorted(random_.sample(range(1, STEPS), 8))) for _ in range(40)]
    expected = [known._runs.total(mask) for mask in masks]
    real = [final_error(roll_out(sampler, skipping(mask), trajectory), trajectory.final) for mask in masks]
    ranks = [np.argsort(np.argsort(values)) for values in (expected, real)]
    assert np.corrcoef(ranks[0], ranks[1])[0, 1] > 0.6


def test_the_gain_measured_at_few_places_is_near_that_of_every_step(sampler):
    trajectory = record(sampler, 3)
    gains = []
    for places in (EFFORTS["normal"].places, tuple(i / STEPS for i in range(1, STEPS - 1))):
        known = calibration(sampler, Effort(1, places, ()))
        known._runs.add(trajectory)
        known._measure_gains()
        gains.append(np.log(known._runs.gains))
    assert np.abs(gains[0] - gains[1]).mean() < math.log(2)


def test_it_is_better_than_an_even_schedule_on_a_seed_it_has_not_seen(sampler):
    file = calibration(sampler, EFFORTS["normal"]).run(lambda file: None)
    better = []
    for truth in [record(sampler, seed) for seed in range(77, 83)]:
        for point in file.points:
            full = [i for i, kind in enumerate(point.kinds) if kind is StepKind.FULL]
            if STEPS / 4 <= len(full) <= STEPS / 2:
                even = sorted({round(i * STEPS / len(full)) for i in range(len(full))})
                ours, theirs = (
                    final_error(roll_out(sampler, skipping(keyframes), truth), truth.final)
                    for keyframes in (full, even)
                )
                better.append(20 * math.log10(theirs / ours))
    assert len(better) >= 6 * 6 and sum(better) / len(better) > 1


def test_quick_costs_at_most_three_ordinary_runs(sampler):
    calibration(sampler, EFFORTS["quick"]).run(lambda file: None)
    assert sampler.network._calls <= 3 * STEPS


def test_of_a_long_run_some_points_are_kept(sampler, monkeypatch):
    monkeypatch.setattr("frdiff.auto_fr.calibrate.MOST_POINTS", 8)
    file = calibration(sampler, Effort(1, (), (2.0,))).run(lambda file: None)
    assert 4 < len(file.points) <= 8 and min(point.cost for point in file.points) < 0.25
    assert from_bytes(to_bytes(file), "a file").points == file.points


def peaks_of_a_plain_run_and_of_a_calibration():
    """Peak memory of this process in bytes after each, and the size of the record; prints them as JSON."""

    def peak():
        # The resource module's figure would be that of the process that started this one, where it is larger.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    sampler = Sampler(rows=60_000)
    with torch.inference_mode():
        plain_run(sampler, 1)
        before = peak()
        known = calibration(sampler, EFFORTS["quick"])
        known.run(lambda file: None)
    (run,) = known._runs.recorded
    tensors = [run.final, *(t for e in run.evaluations for t in (e.x, e.denoised, *e.outputs.values()))]
    print(json.dumps([before, peak(), sum(tensor.nbytes for tensor in tensors)]))


@pytest.mark.skipif(sys.platform != "linux", reason="Elsewhere peaks are found otherwise.")
def test_the_peak_memory_is_that_of_a_plain_run_and_of_the_record():
    code = f"import {__name__} as tests; tests.peaks_of_a_plain_run_and_of_a_calibration()"
    paths = [str(Path(__file__).parent), *sys.path]
    # What the C library's heap loses between tensors that come and go and those that stay is not ours.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536"}
    environment = {**os.environ, **allocator, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    plain, calibrating, record_size = json.loads(done.stdout)
    assert record_size > 0.2 * plain
    assert calibrating <= 1.1 * plain + record_size


def test_the_search_of_fifty_steps_takes_less_than_two_seconds(sampler):
    generator = np.random.default_rng(1)
    trajectory = record(lambda make, seed, steps: sampler(make, seed, 50), 3)
    cost = ForecastCost([geometry(trajectory)], generator.uniform(1, 2, 50))
    # Of the processor, because the machine may be busy.
    started = time.process_time()
    assert len([found for found in front(cost, 50, 16) if found]) > 40
    assert time.process_time() - started < 2


class Stopped(BaseException):
    pass


def stopped_after(sampler, moments):
    """The files that were kept, the calibration, and its progress when it is stopped at a moment."""
    kept, calls = [], []

    def progress(part, text):
        assert 0 <= part <= 1 and text
        if len(calls) == moments:
            raise Stopped
        calls.append(part)

    known = calibration(sampler, Effort(1, (0.4,), (2.0, 3.0), held_out=1), progress=progress)
    try:
        known.run(kept.append)
    except Stopped:
        return kept, known, calls
    return kept, None, calls


def test_stopped_at_any_moment_it_leaves_what_is_known(sampler):
    moments, sizes = 0, []
    while True:
        kept, stopped, calls = stopped_after(sampler, moments)
        assert calls == sorted(calls) and len(calls) == moments
        if stopped is None:
            break
        for file in kept:
            assert from_bytes(to_bytes(file), "kept") == file and "stopped early" in file.notes[0]
        if not kept:
            with pytest.raises(FRDiffError, match="before anything was known"):
                stopped.file()
        sizes.append(len(kept))
        moments += 1
    assert not kept[-1].notes and kept[-1].held_out == 1
    assert moments > 12 and sizes == sorted(sizes) and sizes[0] == 0 and sizes[-1] >= 4


def test_what_was_not_compared_yet_is_left_to_the_prior(sampler):
    first, *_, last = stopped_after(sampler, 10)[0]
    assert {point.source for point in first.points} == {"prior"} and "Judged on" not in "".join(first.notes)
    assert "calibrated" in {point.source for point in last.points} and "Judged on" in last.notes[1]


def test_where_noise_is_added_partial_steps_are_measured_and_compared_with_forecasts():
    # Large enough that a partial step is clearly cheaper, whatever else the machine does.
    sampler, tried = Sampler(noise=0.3, rows=2000), []

    def do(jobs):
        tried.extend(job.plan for job in jobs if isinstance(job, Trial))
        return in_turn(sampler, FAMILIES)(jobs)

    file = Calibration(do, EFFORTS["normal"], MADE, "toy", 1).run(lambda file: None)
    assert file.stochastic and file.partial_cost is not None and 0 < file.partial_cost <= 1
    assert file.provenance.stages == 2
    assert file.milliseconds is not None and file.milliseconds.partial is not None
    kinds = [{step.kind for step in plan} for plan in tried]
    assert {StepKind.FULL, StepKind.PARTIAL} in kinds and {StepKind.FULL, StepKind.SKIP} in kinds
    for point in file.points:
        assert StepKind.PARTIAL not in point.kinds or point.source == CALIBRATED


def test_what_the_network_and_its_stages_take_is_in_the_file(sampler):
    sampler.network.blocks[1].slow = 0.003
    took = calibration(sampler, EFFORTS["quick"]).run(lambda file: None).milliseconds
    assert took is not None and took.partial is None
    (first, fast), (second, slow) = took.stages
    assert (first, second) == ("blocks.0", "blocks.1")
    assert slow >= 3 and fast > 0 and took.full >= 3


def test_each_accepted_move_is_in_the_file(sampler):
    effort = Effort(1, (), (3.0,), climbed=20)
    known = calibration(sampler, effort)
    file = known.run(lambda file: None)
    assert file.method == "refined" and file.moves
    errors = [move.error for move in file.moves]
    assert errors == sorted(errors, reverse=True)
    (point,) = (point for point in file.points if point.error == pytest.approx(errors[-1]))
    full = {i for i, kind in enumerate(point.kinds) if kind is StepKind.FULL}
    assert all(move.full == len(full) for move in file.moves) and file.moves[-1].after in full
    assert from_bytes(to_bytes(file), "a file") == file
    assert not calibration(sampler, replace(effort, climbed=None)).run(lambda file: None).moves


def test_fewer_than_five_steps_are_refused(sampler):
    with pytest.raises(FRDiffError, match="at least"):
        calibration(lambda make, seed, steps: sampler(make, seed, 3), EFFORTS["quick"]).run(lambda file: None)


def test_the_prior_is_kept_where_it_was_better_and_next_to_it():
    def point(error, prior):
        return Point((StepKind.FULL,), 1.0, 0.0, error=error, prior_error=prior)

    unknown = point(None, None)
    points = verdicts([unknown, point(1.0, 2.0), unknown, point(2.0, 1.0), unknown])
    assert [p.source for p in points] == ["prior", "calibrated", "prior", "prior", "prior"]
    assert [p.source for p in verdicts([unknown, unknown])] == ["prior", "prior"]


def test_climbing_only_accepts_better_plans_and_records_them(sampler):
    trajectory = record(sampler, 3)

    def logs_of(plans):
        for plan in plans:
            made.append(plan)
            yield np.log([final_error(roll_out(sampler, plan, trajectory), trajectory.final)])

    made, start = [], skipping([0, 1, 2, 3, 8, 12, 16, 20])
    late_first = lambda keyframes: -sum(keyframes)  # noqa: E731
    (first,) = logs_of([start])
    plan, logs, moves = climb(start, first, logs_of, late_first, time.monotonic() + 20)
    assert moves and logs < first and [logs] == list(logs_of([plan]))
    reached = [move.error for move in moves]
    assert reached == sorted(reached, reverse=True) and math.log(reached[-1]) == pytest.approx(logs.mean())
    keyframes = set(start.keyframes)
    for move in moves:
        assert move.full == len(keyframes) and move.before in keyframes and move.after not in keyframes
        keyframes = keyframes - {move.before} | {move.after}
    assert tuple(sorted(keyframes)) == plan.keyframes
    made.clear()
    climb(start, first, logs_of, late_first, time.monotonic() + 20, most=5)
    assert len(made) == 5


def test_neighbours_keep_the_number_and_the_first():
    for keyframes in neighbours((0, 4, 9), 12):
        assert len(set(keyframes)) == 3 and keyframes[0] == 0 and keyframes[-1] < 12


def test_a_repaired_run_is_nearer_to_the_full_one(sampler):
    sampler.network.bump = 0.4
    better = []
    for truth in [record(sampler, seed) for seed in range(6)]:
        errors = [final_error(roll_out(sampler, EVERY_OTHER, truth, None, r), truth.final) for r in (0.0, 0.5)]
        better.append(math.log(errors[0] / errors[1]))
    assert min(better) > 0
