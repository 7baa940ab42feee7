"""A run that is sampled in parts: one budget, and every part comes to the same plan by itself."""

import itertools
from dataclasses import replace

import pytest

from frdiff.planning.keyframes import best_keyframes
from frdiff.planning.parts import shared
from frdiff.planning.presets import for_speedup
from frdiff.planning.prior import PriorSchedule, raw_cost_model, x0_cost_model
from frdiff.planning.run import SamplingRun, sampling_run
from frdiff.sampler.noise_levels import NoiseLevel

pytestmark = pytest.mark.quick


def flow(sigma):
    return NoiseLevel(sigma, sigma, 1.0, -sigma)


def levels(steps, shift):
    return [shift * u / (1 + (shift - 1) * u) for u in (1 - i / steps for i in range(steps + 1))]


def halves(sigmas, cut):
    first, second = sigmas[: cut + 1], sigmas[cut:]
    return (
        sampling_run(first, flow, parts=((), second)),
        sampling_run(second, flow, parts=(first, ())),
    )


def cost_of(times, count):
    """The cost of the best plan with so many full steps, by trying all plans."""
    steps, cost = len(times) - 1, raw_cost_model(times)
    plans = [(0, *rest) for rest in itertools.combinations(range(1, steps), count - 1)]
    ends = [[plan[0], *plan, steps] for plan in plans]
    return min(sum(cost(*each[i : i + 3]) for i in range(count)) for each in ends)


@pytest.mark.parametrize("count", [2, 5, 9])
def test_the_shares_are_those_that_cost_least(count):
    sigmas = levels(14, 8)
    first, second = tuple(sigmas[:7]), tuple(sigmas[6:])
    own, other = shared((first, second), count, raw_cost_model, 14)
    assert own + other == count and own >= 1 <= other
    options = [(n, count - n) for n in range(1, count) if n <= 6 and count - n <= 8]
    best = min(cost_of(first, one) + cost_of(second, rest) for one, rest in options)
    assert cost_of(first, own) + cost_of(second, other) == pytest.approx(best)


@pytest.mark.parametrize("shift", [3, 5, 8])
@pytest.mark.parametrize(("steps", "cut"), [(20, 10), (20, 8), (30, 14), (50, 20)])
@pytest.mark.parametrize("speedup", [1.5, 2.0, 3.0])
def test_both_parts_agree_and_reach_the_speed_together(steps, cut, shift, speedup):
    schedule, runs = for_speedup(speedup), halves(levels(steps, shift), cut)
    plans = [schedule.plan(run) for run in runs]
    full = [len(plan.keyframes) for plan in plans]
    assert sum(full) == max(round(steps / speedup), 5) and all(plan.keyframes[0] == 0 for plan in plans)
    told = [schedule.shortfall(run).sentence for run in runs]
    assert f"Steps 1 to {cut} of {steps}" in told[0] and f"Steps {cut + 1} to {steps} of {steps}" in told[1]
    assert all(f"so that {sum(full)} are computed in all" in each for each in told)


def test_most_is_computed_where_it_counts_most():
    first, second = halves(levels(20, 8), 10)
    schedule = PriorSchedule("2x", speedup=2.0)
    alone = [schedule.plan(SamplingRun(run.times)).keyframes for run in (first, second)]
    together = [schedule.plan(run).keyframes for run in (first, second)]
    assert [len(each) for each in alone] == [5, 5]
    assert len(together[0]) < 5 < len(together[1])

    def cost(plans):
        total = 0.0
        for run, plan in zip((first, second), plans, strict=True):
            model, ends = raw_cost_model(run.times), [plan[0], *plan, run.length]
            total += sum(model(*ends[i : i + 3]) for i in range(len(plan)))
        return total

    assert cost(together) < 0.75 * cost(alone)


def test_parts_that_go_by_differences_get_enough_for_their_second_steps():
    schedule = PriorSchedule("2.4x", speedup=2.4)
    below_noise = [tuple(0.95 * time for time in run.times) for run in halves(levels(24, 5), 8)]
    run = SamplingRun(below_noise[0], stochastic=True, multistep=True, keeps_noise=True)
    runs = [replace(run, after=below_noise[1]), replace(run, times=below_noise[1], before=below_noise[0])]
    plans = [schedule.plan(run).keyframes for run in runs]
    assert all(plan[:2] == (0, 1) for plan in plans)
    assert [len(plan) for plan in plans] == [3, 7]
    assert shared(tuple(below_noise), 10, x0_cost_model, 8) == (2, 8)


def test_short_parts_and_several_evaluations_are_planned_alone():
    schedule = PriorSchedule("2x", speedup=2.0)
    for steps, cut in ((8, 4), (20, 6), (20, 14)):
        for run in halves(levels(steps, 8), cut):
            assert schedule.plan(run) == schedule.plan(SamplingRun(run.times))
    run = halves(levels(20, 8), 10)[0]
    heun = replace(run, times=(*[t for t in run.times[:-1] for _ in "ab"], run.times[-1]),
                   step_of_evaluation=tuple(step for step in range(10) for _ in "ab"))  # fmt: skip
    assert schedule.plan(heun) == schedule.plan(replace(heun, after=()))


def test_the_best_of_each_part_is_what_the_search_finds():
    times = tuple(levels(12, 5))
    fronts = best_keyframes(12, raw_cost_model(times), 12)
    only = shared((times,), 6, raw_cost_model, 12)
    assert only == (6,) and len(fronts[5]) == 6
