"""Schedules as data: the paper's figures, the dial, and bad numbers."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from solvers import response_of

from frdiff.errors import FRDiffError
from frdiff.planning.paper import PaperSchedule, score_mixing_weight
from frdiff.planning.plan import StepKind
from frdiff.planning.presets import PRESETS, for_speedup
from frdiff.planning.prior import FEWEST, FEWEST_OF_ALL
from frdiff.planning.run import SamplingRun, sampling_run
from frdiff.planning.schedule import RunOptions
from frdiff.sampler.noise_levels import noise_prediction_level, step_of_sigma
from frdiff.sampler.response import ImpulseResponse

pytestmark = pytest.mark.quick


def flow_times(steps):
    return tuple(1 - step / steps for step in range(steps + 1))


@pytest.mark.parametrize(("interval", "full", "partial", "skip"), [(2, 25, 14, 11), (3, 17, 19, 14)])
def test_fifty_steps_are_the_papers(interval, full, partial, skip):
    number = PRESETS[f"paper M={interval}"].plan(SamplingRun(flow_times(50))).counts
    assert number == {StepKind.FULL: full, StepKind.PARTIAL: partial, StepKind.SKIP: skip}


def test_score_mixing_weight_is_clipped_and_centred():
    assert score_mixing_weight(0.0) == 0
    assert score_mixing_weight(0.5) == 0.5
    assert score_mixing_weight(1.0) == 1


def test_stages_are_kept_only_where_a_partial_step_follows():
    plan = PRESETS["paper M=2"].plan(SamplingRun(flow_times(50)))
    for step, following in zip(plan, plan[1:], strict=False):
        if step.kind is StepKind.FULL:
            assert step.keeps_stages == (following.kind is StepKind.PARTIAL)


@pytest.mark.parametrize("steps", [1, 4, 8, 20, 28, 50, 100])
@pytest.mark.parametrize("speedup", [1.0, 1.5, 2.0, 3.0, 8.0])
@pytest.mark.parametrize("stochastic", [False, True])
def test_the_dial_is_the_counted_speedup_as_near_as_whole_steps_allow(steps, speedup, stochastic):
    plan = for_speedup(speedup).plan(SamplingRun(flow_times(steps), stochastic))
    full = plan.counts[StepKind.FULL]
    assert full == min(max(round(steps / speedup), math.ceil(steps * FEWEST_OF_ALL), FEWEST), steps)
    assert plan[0].kind is StepKind.FULL and plan.counts[StepKind.PARTIAL] == 0


def test_steps_that_a_sampler_uses_more_are_computed():
    """DPM-Solver++(2M) uses the outputs before a long last step several times over."""
    sigmas = [*(10.0 * 0.8**step for step in range(18)), 0.01, 0.0]
    course = sampling_run(sigmas, noise_prediction_level, response_of("dpmpp_2m", sigmas))
    for stochastic in (False, True):
        plan = for_speedup(3.0).plan(replace(course, stochastic=stochastic))
        plain = for_speedup(3.0).plan(SamplingRun(course.times, stochastic))
        assert plan[17].kind is StepKind.FULL and plan.counts == plain.counts


def test_a_sampler_that_forgets_computes_the_last_steps():
    """What LCM makes of early outputs is gone by the end, however many of them are left out in a row."""
    sigmas = [14.0 * 0.8**step for step in range(20)] + [0.0]
    course = replace(sampling_run(sigmas, noise_prediction_level, response_of("lcm", sigmas)), stochastic=True)
    plan = for_speedup(2.0).plan(course)
    assert [step for step, each in enumerate(plan) if each.kind is StepKind.FULL][-8:] == list(range(12, 20))
    assert plan.counts == for_speedup(2.0).plan(SamplingRun(course.times, stochastic=True)).counts


@pytest.mark.parametrize(
    ("keeps", "first_sigma", "second"), [(True, 14.0, True), (False, 14.0, False), (True, 900.0, False)]
)
def test_a_sampler_that_adds_little_noise_computes_its_second_step(keeps, first_sigma, second):
    """Unless its first one saw next to nothing but noise."""
    times = sampling_run([first_sigma * 0.75**step for step in range(20)] + [0.0], noise_prediction_level).times
    plan = for_speedup(2.0).plan(SamplingRun(times, stochastic=True, multistep=True, keeps_noise=keeps))
    assert (plan[1].kind is StepKind.FULL) is second


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_how_much_noise_a_sampler_keeps_is_known_from_its_first_step(eta):
    """With `eta` between a sampler without fresh noise and an ancestral one."""
    sigmas = [14.0, 10.0, 7.0, 4.0, 2.0, 0.0]
    kept = [(after / sigma) ** (1 + eta) for sigma, after in pairwise(sigmas)]
    inputs = np.zeros((6, 6))
    inputs[0, 0] = 1.0
    for step, a in enumerate(kept):
        inputs[step + 1] = a * inputs[step]
        inputs[step + 1, step + 1] = 1 - a
    run = sampling_run(sigmas, noise_prediction_level, ImpulseResponse(tuple(sigmas[:-1]), True, inputs))
    assert run.keeps_noise is (eta < 0.5)


@pytest.mark.parametrize(
    ("steps", "speedup", "near"), [(20, 2.0, True), (50, 3.0, True), (28, 3.7, False), (6, 2.0, False)]
)
def test_a_speed_that_whole_steps_do_not_allow_is_said(steps, speedup, near):
    schedule, course = for_speedup(speedup), SamplingRun(flow_times(steps))
    reached = steps / schedule.plan(course).counts[StepKind.FULL]
    said = schedule.shortfall(course)
    assert near == (abs(reached / speedup - 1) <= 0.05) == (said is None)
    assert near or f"{reached:.2f}x is planned" in said.sentence


@pytest.mark.parametrize("speedup", [0.0, 0.99, -1.0, float("nan"), float("inf")])
def test_a_bad_dial_is_a_sentence(speedup):
    with pytest.raises(FRDiffError, match="must be 1"):
        for_speedup(speedup)


@pytest.mark.parametrize("bad", [{"interval": 0}, {"first_full": 0}, {"last_full": -1}])
def test_a_bad_schedule_is_refused(bad):
    with pytest.raises(FRDiffError):
        PaperSchedule("bad", **bad)


def test_a_bad_budget_is_refused():
    with pytest.raises(FRDiffError, match="budget"):
        RunOptions(budget_mb=float("nan"))


def test_steps_are_found_from_sigmas():
    sigmas = [10.0, 5.0, 2.0, 0.0]
    found = [step_of_sigma(sigma, sigmas) for sigma in (11.0, 10.0, 7.0, 5.00001, 5.0, 3.0, 2.0, 0.1)]
    assert found == [0, 0, 0, 1, 1, 1, 2, 2]
