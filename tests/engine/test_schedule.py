"""Schedules as data: the paper's figures, the dial, and bad numbers."""

import pytest

from frdiff.errors import FRDiffError
from frdiff.presets import PAPER_PARTIAL_COST, PRESETS, for_speedup
from frdiff.schedule import Schedule, StepKind, counted_speedup, counts, score_mixing_weight
from frdiff.session import step_index

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(("interval", "full", "partial", "skip"), [(2, 25, 14, 11), (3, 17, 19, 14)])
def test_fifty_steps_are_the_papers(interval, full, partial, skip):
    number = counts(PRESETS[f"paper M={interval}"].plan(50))
    assert number == {StepKind.FULL: full, StepKind.PARTIAL: partial, StepKind.SKIP: skip}


def test_score_mixing_weight_is_clipped_and_centred():
    assert score_mixing_weight(0.0) == 0
    assert score_mixing_weight(0.5) == 0.5
    assert score_mixing_weight(1.0) == 1


def test_stages_are_kept_only_where_a_partial_step_follows():
    plan = PRESETS["paper M=2"].plan(50)
    for step, following in zip(plan, plan[1:], strict=False):
        if step.kind is StepKind.FULL:
            assert step.keeps_stages == (following.kind is StepKind.PARTIAL)


@pytest.mark.parametrize("steps", [1, 4, 8, 20, 28, 50, 100])
@pytest.mark.parametrize("speedup", [1.0, 1.5, 2.0, 3.0, 8.0])
def test_the_dial_picks_the_nearest(steps, speedup):
    chosen = counted_speedup(for_speedup(speedup, steps).plan(steps), PAPER_PARTIAL_COST)
    others = [counted_speedup(Schedule("", m).plan(steps), PAPER_PARTIAL_COST) for m in range(1, 11)]
    assert abs(chosen - speedup) == min(abs(other - speedup) for other in others)
    if speedup == 1:
        assert chosen == 1


@pytest.mark.parametrize("speedup", [0.0, 0.99, -1.0, float("nan"), float("inf")])
def test_a_bad_dial_is_a_sentence(speedup):
    with pytest.raises(FRDiffError, match="must be 1"):
        for_speedup(speedup, 20)


@pytest.mark.parametrize("bad", [{"interval": 0}, {"first_full": 0}, {"last_full": -1}, {"budget_mb": float("nan")}])
def test_a_bad_schedule_is_refused(bad):
    with pytest.raises(FRDiffError):
        Schedule(**{"name": "bad", "interval": 2, **bad})


def test_steps_are_found_from_sigmas():
    sigmas = [10.0, 5.0, 2.0, 0.0]
    assert [step_index(s, sigmas) for s in (11.0, 10.0, 7.0, 5.00001, 5.0, 3.0, 2.0, 0.1)] == [0, 0, 0, 1, 1, 1, 2, 2]
