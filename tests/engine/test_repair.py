"""A sampler is known from its rehearsal, and what forecasts did to the latent is taken back."""

import math

import numpy as np
import pytest
import torch
from driver import call, flow_level, start
from solvers import SOLVERS, response_of, walk

from frdiff.forecasting.repair import Repair, repair_of
from frdiff.forecasting.rules import Forecaster, linear_weights, reuse_weights
from frdiff.planning.plan import Plan
from frdiff.planning.schedule import RunOptions, Schedule
from frdiff.sampler.recursion import LinearRecursion
from frdiff.sampler.response import ImpulseResponse
from frdiff.store import Stream

pytestmark = pytest.mark.quick

SIGMAS = [8.0 * 0.75**i for i in range(12)] + [0.0]
SKIPPED = (3, 6, 7)


def between(t, times):
    """Straight lines between what is known, and the newest output beyond: wrong outside, exact inside."""
    inside = len(times) > 1 and times[-1] <= t <= times[0]
    return linear_weights(t, times) if inside else reuse_weights(t, times)


RULE = Forecaster("between", between, history=2)


class Fixed(Schedule):
    """Skips SKIPPED."""

    def plan(self, run):
        """The plan, whatever the run."""
        return Plan.with_keyframes(set(range(run.length)) - {*SKIPPED}, run.length)


def slope(sigma):
    """A straight line, which interpolation gets right."""
    return 1.5 - 0.2 * sigma


def true_run(solver):
    """Inputs and denoised latents of a run whose slopes (x - D) / sigma are `slope`."""
    outputs = []

    def denoised(x, step):
        outputs.append(x - SIGMAS[step] * slope(SIGMAS[step]))
        return outputs[-1]

    return walk(solver, SIGMAS, torch.full((1, 2), 5.0, dtype=torch.float64), denoised), outputs


def skipping_run(solver, strength):
    """The inputs of a run that skips; the denoised latent does not depend on where the latent went."""
    truth, outputs = true_run(solver)
    schedule = Fixed("fixed", RunOptions(forecaster=RULE, repair=strength))
    session = start(schedule, SIGMAS, response=response_of(solver, SIGMAS), level_of=flow_level)
    network = torch.nn.Identity()

    def denoised(x, step):
        sigma = SIGMAS[step]
        session.begin_evaluation(sigma, x)
        raw = call(session, "condition", network, lambda: network((x - outputs[step]) / sigma))
        session.end_evaluation(x - sigma * raw)
        return x - sigma * raw

    found = walk(solver, SIGMAS, truth[0], denoised)
    session.close()
    return [float((a - b).abs().max()) for a, b in zip(found, truth, strict=True)]


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
def test_a_full_repair_brings_the_latent_back_where_interpolation_is_right(solver):
    unrepaired, repaired = skipping_run(solver, 0.0), skipping_run(solver, 1.0)
    assert min(unrepaired[4:8]) > 1e-3
    # The input after a computed step is right again, and so are all until the next skipped one.
    assert max(repaired[step + 2] for step in (3, 7)) < 1e-9 and max(repaired[9:]) < 1e-9
    half = skipping_run(solver, 0.5)
    assert repaired[5] < half[5] < unrepaired[5] and math.isclose(half[5], unrepaired[5] / 2, rel_tol=1e-6)


def recursion(*older):
    """A solver of eight steps that uses each newest output once, and the ones before by `older`, newest first."""
    uses = [tuple([0.0] * max(i - len(older), 0) + [*reversed(older[:i]), 1.0]) for i in range(8)]
    return LinearRecursion((1.0,) * 8, tuple(uses))


@pytest.mark.parametrize(
    ("older", "correctable"),
    # To undo a unit takes changes of 0.5, 0.25 and so on, 1 in all; of 0.8, 0.64 and so on, 3 in all; of 1, 0.5,
    # 0 and so on, 2 in all; of 0.8, 0.34, 0.03 and so on, 1.3 in all.
    [((), True), ((-0.5,), True), ((-0.8,), False), ((-1.0, 0.5), False), ((-0.8, 0.3), True)],
)
def test_what_a_solver_makes_of_a_change_must_be_undone_by_small_ones(older, correctable):
    assert recursion(*older).repairable == correctable


def test_a_solver_without_its_newest_output_cannot_be_corrected():
    assert not LinearRecursion((1.0, 1.0), ((1.0,), (1.0, 0.0))).repairable


def test_a_solver_that_would_let_corrections_grow_is_not_repaired():
    two, four = (response_of(name, SIGMAS).recursion(SIGMAS) for name in ("dpmpp_2m", "adams_4"))
    assert two.repairable and not four.repairable

    levels = [flow_level(sigma) for sigma in SIGMAS[:-1]]
    assert repair_of(0.5, two, levels) and repair_of(0.5, four, levels) is None
    assert repair_of(0.0, two, levels) is None and repair_of(0.5, None, levels) is None


def test_a_correction_that_one_step_cannot_carry_is_not_made():
    solver = LinearRecursion((0.1, 0.999), ((0.9,), (0.0, 0.001)))
    repair = Repair(1.0, solver, [flow_level(1.0)] * 2)
    known = Stream(times=[2.0, 1.0], outputs=[torch.ones(1), torch.zeros(1)])
    repair.of_forecast("condition", 0, 1.5, torch.ones(1) * 3)
    assert repair.of_computed("condition", 1, known, RULE.weights) is None and known.outputs[-1] == 0


@pytest.mark.parametrize("name", list(SOLVERS))
def test_a_rehearsal_gives_the_solvers_recursion(name):
    sigmas = SIGMAS[:8]
    solver = response_of(name, sigmas).recursion(sigmas)
    outputs = [torch.tensor([[math.sin(3.0 * step)]], dtype=torch.float64) for step in range(7)]
    inputs = walk(name, sigmas, torch.ones(1, 1, dtype=torch.float64), lambda x, step: outputs[step])
    x = 1.0
    for step, (keep, uses) in enumerate(zip(solver.a, solver.b, strict=True)):
        x = keep * x + sum(use * float(output) for use, output in zip(uses, outputs, strict=False))
        assert x == pytest.approx(float(inputs[step + 1]), abs=1e-6)


def test_there_is_no_recursion_without_one_evaluation_for_each_step():
    rehearsal = response_of("euler", SIGMAS)
    assert ImpulseResponse(rehearsal.sigmas, False).recursion(SIGMAS) is None
    assert ImpulseResponse(rehearsal.sigmas[:-1], False, rehearsal.inputs).recursion(SIGMAS) is None
    twice = tuple(np.repeat(rehearsal.sigmas, 2)[: len(rehearsal.sigmas)])
    assert ImpulseResponse(twice, False, rehearsal.inputs).recursion(SIGMAS) is None
