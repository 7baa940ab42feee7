"""A sampler is known from its rehearsal, and what forecasts did to the latent is taken back."""

import math

import numpy as np
import pytest
import torch
from solvers import SOLVERS, rehearsal_of, walk

from frdiff.forecasting.repair import Repair, repair_of
from frdiff.forecasting.rules import Forecaster, linear_weights, reuse_weights
from frdiff.planning.schedule import Schedule, StepKind, plan_of
from frdiff.runtime.session import Session
from frdiff.sampler.response import Rehearsal, Solver
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

    def plan(self, course):
        """The plan, whatever the run."""
        skip = [StepKind.SKIP if step in SKIPPED else StepKind.FULL for step in range(course.steps)]
        return plan_of([(kind, 1.0) for kind in skip])


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
    schedule = Fixed("fixed", RULE, repair=strength)
    session = Session(schedule, SIGMAS, rehearsal=rehearsal_of(solver, SIGMAS), flow_time=lambda sigma: sigma)
    network = torch.nn.Identity()

    def denoised(x, step):
        sigma = SIGMAS[step]
        session.begin_evaluation(sigma, x)
        raw = session.call("condition", network, lambda: network((x - outputs[step]) / sigma))
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
    return Solver((1.0,) * 8, tuple(uses))


@pytest.mark.parametrize(
    ("older", "correctable"),
    # To undo a unit takes changes of 0.5, 0.25 and so on, 1 in all; of 0.8, 0.64 and so on, 3 in all; of 1, 0.5,
    # 0 and so on, 2 in all; of 0.8, 0.34, 0.03 and so on, 1.3 in all.
    [((), True), ((-0.5,), True), ((-0.8,), False), ((-1.0, 0.5), False), ((-0.8, 0.3), True)],
)
def test_what_a_solver_makes_of_a_change_must_be_undone_by_small_ones(older, correctable):
    assert recursion(*older).correctable == correctable


def test_a_solver_without_its_newest_output_cannot_be_corrected():
    assert not Solver((1.0, 1.0), ((1.0,), (1.0, 0.0))).correctable


def test_a_solver_that_would_let_corrections_grow_is_not_repaired():
    two, four = (rehearsal_of(name, SIGMAS).solver(SIGMAS) for name in ("dpmpp_2m", "adams_4"))
    assert two.correctable and not four.correctable

    scales = [(1.0, -sigma) for sigma in SIGMAS[:-1]]
    assert repair_of(0.5, two, scales) and repair_of(0.5, four, scales) is None
    assert repair_of(0.0, two, scales) is None and repair_of(0.5, None, scales) is None


def test_a_correction_that_one_step_cannot_carry_is_not_made():
    solver = Solver((0.1, 0.999), ((0.9,), (0.0, 0.001)))
    repair = Repair(1.0, solver, [(1.0, -1.0), (1.0, -1.0)])
    known = Stream(times=[2.0, 1.0], outputs=[torch.ones(1), torch.zeros(1)])
    repair.forecast("condition", 0, 1.5, torch.ones(1) * 3)
    assert repair.computed("condition", 1, known, RULE.weights) is None and known.outputs[-1] == 0


@pytest.mark.parametrize("name", list(SOLVERS))
def test_a_rehearsal_gives_the_solvers_recursion(name):
    sigmas = SIGMAS[:8]
    solver = rehearsal_of(name, sigmas).solver(sigmas)
    outputs = [torch.tensor([[math.sin(3.0 * step)]], dtype=torch.float64) for step in range(7)]
    inputs = walk(name, sigmas, torch.ones(1, 1, dtype=torch.float64), lambda x, step: outputs[step])
    x = 1.0
    for step, (keep, uses) in enumerate(zip(solver.keeps, solver.uses, strict=True)):
        x = keep * x + sum(use * float(output) for use, output in zip(uses, outputs, strict=False))
        assert x == pytest.approx(float(inputs[step + 1]), abs=1e-6)


def test_there_is_no_recursion_without_one_evaluation_for_each_step():
    rehearsal = rehearsal_of("euler", SIGMAS)
    assert Rehearsal(rehearsal.sigmas, False).solver(SIGMAS) is None
    assert Rehearsal(rehearsal.sigmas[:-1], False, rehearsal.inputs).solver(SIGMAS) is None
    twice = tuple(np.repeat(rehearsal.sigmas, 2)[: len(rehearsal.sigmas)])
    assert Rehearsal(twice, False, rehearsal.inputs).solver(SIGMAS) is None
