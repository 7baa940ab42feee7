"""The calls of one evaluation are answered alike: guidance enlarges what sets them apart."""

import pytest
import torch
from driver import call, start

from frdiff.planning.paper import PaperSchedule
from frdiff.planning.plan import Plan
from frdiff.planning.presets import for_speedup
from frdiff.planning.schedule import Schedule

pytestmark = pytest.mark.quick

SIGMAS = [8.0, 6.0, 4.0, 3.0, 2.0, 1.0, 0.0]


class Skipping(Schedule):
    """Every step but the first is forecast."""

    def plan(self, run):
        return Plan.with_keyframes([0], run.length)


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.computed = []

    def forward(self, key, sigma):
        self.computed.append((sigma, key))
        return torch.full((1, 2), sigma)


def run(evaluations, schedule=None, moved=""):
    """What was computed, as (sigma, condition), and the report; `evaluations` are a sigma and its conditions each.

    Those that are `moved` are about another part of the latent than was asked for before.
    """
    seen = set()
    network, session = Network(), start(schedule or Skipping("skipping"), SIGMAS)
    for sigma, keys in evaluations:
        session.begin_evaluation(sigma)
        for key in keys:
            elsewhere = key in moved and key not in seen
            call(session, key, network, lambda key=key, sigma=sigma: network(key, sigma), elsewhere=elsewhere)
            seen.add(key)
    return network.computed, session.close()


def test_a_new_condition_that_comes_first_is_not_alone():
    computed, report = run([(8.0, "ab"), (6.0, "ab"), (4.0, "nab"), (3.0, "nab")])
    assert computed == [(8.0, "a"), (8.0, "b"), (4.0, "n"), (4.0, "a"), (4.0, "b")]
    assert [record.kind for record in report.records] == ["full", "skip", "full", "skip"]


def test_what_was_answered_before_a_new_condition_stays():
    computed, report = run([(8.0, "ab"), (6.0, "anb"), (4.0, "anb")])
    assert computed == [(8.0, "a"), (8.0, "b"), (6.0, "n")]
    assert [record.kind for record in report.records] == ["full", "full", "skip"] and report.reasons


def test_one_that_is_too_old_makes_all_compute():
    # At 5.5 the second condition is only known from further down.
    computed, _ = run([(8.0, "a"), (6.0, "a"), (5.0, "ab"), (5.5, "ab")])
    assert computed == [(8.0, "a"), (5.0, "b"), (5.5, "a"), (5.5, "b")]


def test_one_that_is_gone_does_not_hold_the_others_up():
    computed, _ = run([(8.0, "ab"), (6.0, "a"), (4.0, "a"), (3.0, "a")])
    assert computed == [(8.0, "a"), (8.0, "b")]


@pytest.mark.parametrize("schedule", [PaperSchedule("", interval=3, mixing=False), for_speedup(2.0)])
def test_conditions_that_stay_are_always_answered_alike(schedule):
    computed, report = run([(sigma, "abc") for sigma in SIGMAS[:-1]], schedule)
    for record in report.records:
        assert sum(sigma == record.sigma for sigma, _ in computed) == record.calls in (0, 3)


def test_windows_of_a_step_are_answered_alike_once_they_have_moved():
    """The forecasts of some must not meet the truth of others."""
    windows = [(8.0, "ab"), (6.0, "an"), (4.0, "nb"), (3.0, "nb"), (2.0, "nb"), (1.0, "nb")]
    computed, report = run(windows, moved="n")
    # At 6 the first could not know of the second. Then all is computed until they have stayed for three evaluations.
    after = [(sigma, key) for sigma in (4.0, 3.0, 2.0) for key in "nb"]
    assert computed == [(8.0, "a"), (8.0, "b"), (6.0, "n"), *after]
    assert [record.kind for record in report.records] == ["full"] * 5 + ["skip"]
    assert [reason.code for reason in report.reasons][:1] == ["moved"]
