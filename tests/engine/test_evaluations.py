"""Samplers that evaluate more than once for a step are planned evaluation by evaluation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from driver import flow_level
from solvers import response_of

from frdiff.engine import RunFacts
from frdiff.planning.plan import StepKind
from frdiff.planning.presets import for_speedup
from frdiff.planning.prior import FEWEST
from frdiff.planning.run import MOST_EVALUATIONS, sampling_run
from frdiff.reporting.step_map import planned_cells
from frdiff.runtime.follower import PlanFollower
from frdiff.sampler.noise_levels import noise_prediction_level
from frdiff.sampler.response import ImpulseResponse

pytestmark = pytest.mark.quick

SIGMAS = [10.0 * 0.75**step for step in range(16)] + [0.0]


def midpoint(sigmas, step, x, denoised):
    """DPM-Solver-2: the second output alone makes the step."""
    middle = (sigmas[step] * sigmas[step + 1]) ** 0.5
    if middle == 0:
        return denoised(x, sigmas[step])
    inner = x + (middle / sigmas[step] - 1) * (x - denoised(x, sigmas[step]))
    return x + (sigmas[step + 1] - sigmas[step]) * (inner - denoised(inner, middle)) / middle


def heun(sigmas, step, x, denoised):
    """Two slopes, half of each."""
    slope = (x - denoised(x, sigmas[step])) / sigmas[step]
    there = x + (sigmas[step + 1] - sigmas[step]) * slope
    if sigmas[step + 1] == 0:
        return there
    slope = (slope + (there - denoised(there, sigmas[step + 1])) / sigmas[step + 1]) / 2
    return x + (sigmas[step + 1] - sigmas[step]) * slope


def rehearsed(solver, sigmas=SIGMAS, **changes):
    """What a solver does with the first input and with each output."""
    columns = torch.eye(2 * len(sigmas), dtype=torch.float64)
    inputs, levels = [], []

    def denoised(x, sigma):
        inputs.append(x)
        levels.append(sigma)
        return columns[len(levels)]

    x = columns[0]
    for step in range(len(sigmas) - 1):
        x = solver(sigmas, step, x, denoised)
    rows = np.stack([row.numpy() for row in [*inputs, x]])[:, : len(levels) + 1]
    return replace(ImpulseResponse(tuple(levels), False, rows), **changes)


def planned(solver, speedup=2.0, sigmas=SIGMAS):
    """The course, and what the dial makes of it."""
    course = sampling_run(sigmas, noise_prediction_level, rehearsed(solver, sigmas))
    return course, for_speedup(speedup).plan(course)


def test_what_one_evaluation_for_each_step_uses_is_the_solvers():
    euler, second_order = (sampling_run(SIGMAS, noise_prediction_level, response_of(name, SIGMAS))
                           for name in ("euler", "dpmpp_2m"))  # fmt: skip
    assert euler.step_of_evaluation == second_order.step_of_evaluation == ()
    assert euler.error_weight == pytest.approx([a - b for a, b in zip(euler.times, euler.times[1:], strict=False)])
    # Used as 1.5 times itself, and once more as minus a half.
    emphasis = np.array(second_order.error_weight) / np.array(euler.error_weight)
    assert emphasis[1:-2] == pytest.approx([2.0] * 13) and emphasis[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("solver", [midpoint, heun])
def test_a_step_of_several_evaluations_remembers_nothing_of_older_ones(solver):
    assert not rehearsed(solver).evaluations(SIGMAS).multistep


def test_evaluations_belong_to_steps():
    two = rehearsed(heun).evaluations(SIGMAS)
    # The second one of a step is at the noise level of the next step, and belongs to its own.
    assert two.step_of_evaluation == tuple(step for step in range(15) for _ in range(2)) + (15,)
    assert two.sigmas[:5] == tuple(SIGMAS[i] for i in (0, 1, 1, 2, 2))


def test_an_output_counts_as_much_as_the_sampler_uses_it():
    course, plan = planned(midpoint)
    first, second = course.error_weight[2:-1:2], course.error_weight[3:-1:2]
    assert max(a / b for a, b in zip(first, second, strict=True)) < 0.3
    # So what is computed are the second evaluations.
    full = [place for place, step in enumerate(plan) if step.kind is StepKind.FULL]
    assert len(full) == round(len(plan) / 2) and sum(place % 2 for place in full) >= 0.8 * len(full)

    course, plan = planned(heun)
    assert course.error_weight[2] == pytest.approx(course.error_weight[3], rel=0.5)
    # The first evaluation of a step is at the noise level of the one before it.
    assert all(plan[place].kind is StepKind.FULL for place in range(1, len(plan) - 1, 2))


@pytest.mark.parametrize("solver", [midpoint, heun])
def test_the_dial_counts_evaluations(solver):
    for speedup in (1.5, 2.0, 3.0):
        _, plan = planned(solver, speedup)
        assert len(plan) / plan.counts[StepKind.FULL] == pytest.approx(speedup, rel=0.05)
    # As many evaluations at least as the fewest steps would have.
    short = SIGMAS[:FEWEST] + [0.0]
    assert planned(solver, 4.0, short)[1].counts[StepKind.SKIP] == 0


def test_what_is_not_known_is_planned_by_steps():
    up = rehearsed(midpoint)
    up = replace(up, sigmas=(up.sigmas[0], 2 * up.sigmas[0], *up.sigmas[2:]))
    elsewhere = replace(up, sigmas=tuple(0.4 * sigma for sigma in rehearsed(midpoint).sigmas))
    for unknown in (up, elsewhere, rehearsed(heun, inputs=None), None):
        course = sampling_run(SIGMAS, noise_prediction_level, unknown)
        assert course.step_of_evaluation == () and course.output_weight == () and course.length == 16
    sigmas = [10.0 * 0.99**step for step in range(MOST_EVALUATIONS // 2 + 2)] + [0.0]
    assert sampling_run(sigmas, noise_prediction_level, rehearsed(midpoint, sigmas)).step_of_evaluation == ()


def test_a_sampler_that_forgets_the_first_noise_alone_is_known_by_what_it_keeps_later():
    """As on flow models, whose first step starts from noise without any data."""
    def euler_after_a_jump(sigmas, step, x, denoised):
        keep = 0.0 if step == 0 else sigmas[step + 1] / sigmas[step]
        return keep * x + (1 - keep) * denoised(x, sigmas[step])

    solver = rehearsed(euler_after_a_jump).recursion(SIGMAS)
    assert solver.a == pytest.approx([0.0, *[0.75] * 14, 0.0]) and not solver.memoryless
    assert [b[-1] for b in solver.b] == pytest.approx([1.0, *[0.25] * 14, 1.0])


def test_the_middle_of_a_short_first_step_is_not_its_start():
    def short(sigmas, step, x, denoised):
        return midpoint([1.0, 0.9995, *sigmas[2:]], step, x, denoised)

    sigmas = [1.0, 0.9995, *(0.9995 * 0.75**step for step in range(1, 6)), 0.0]
    known = rehearsed(short, sigmas).evaluations(sigmas)
    assert known.step_of_evaluation[:4] == (0, 0, 1, 1)


@pytest.mark.parametrize(("solver", "remembers"), [("euler", False), ("dpmpp_2m", True)])
def test_what_splits_guidance_and_remembers_is_computed_on_flow_models(solver, remembers):
    rehearsal = replace(response_of(solver, SIGMAS), cfg_pp=True)
    assert rehearsal.evaluations(SIGMAS).multistep is remembers and rehearsal.recursion(SIGMAS) is None
    for level_of, refused in ((noise_prediction_level, False), (flow_level, remembers)):
        planner = PlanFollower(for_speedup(2.0), RunFacts(SIGMAS, level_of, response=rehearsal))
        assert (planner.plan.counts[StepKind.SKIP] == 0) is refused
        assert ("leaves nothing to forecast" in " ".join(reason.sentence for reason in planner.reasons())) is refused


def test_the_plan_follows_the_evaluations():
    rehearsal = rehearsed(heun)
    planner = PlanFollower(for_speedup(2.0), RunFacts(SIGMAS, noise_prediction_level, response=rehearsal))
    followed = [planner.begin(sigma, None) for sigma in rehearsal.sigmas]
    assert [evaluation.plan.kind for evaluation in followed] == list(planner.plan.kinds)
    assert [evaluation.step for evaluation in followed] == list(planner.plan.step_of_evaluation)
    assert planner.steps == 16 and list(planner.reasons()) == []


def test_a_run_that_is_not_as_rehearsed_goes_on_by_steps():
    """As where a guider asks the model twice for what the sampler asks once."""
    rehearsal = rehearsed(heun)
    planner = PlanFollower(for_speedup(2.0), RunFacts(SIGMAS, noise_prediction_level, response=rehearsal))
    steps = [planner.begin(sigma, None).step for sigma in (SIGMAS[0], SIGMAS[0], SIGMAS[1], SIGMAS[1])]
    assert steps == [0, 0, 1, 1] and not planner.plan.by_evaluation and len(planner.plan) == 16


def test_a_step_that_is_computed_in_part_has_a_cell_that_says_so():
    _, plan = planned(heun)
    cells = planned_cells(SIGMAS, plan)
    assert [cell.step for cell in cells] == list(range(16))
    assert [cell.sigma for cell in cells] == SIGMAS[:-1]
    assert {cell.kind for cell in cells[2:14]} == {"partial"} and cells[0].kind == "full"
