"""What a run says of its time."""

import dataclasses

import pytest
import torch
from driver import call, start

from frdiff.planning.presets import for_speedup
from frdiff.reasons import DIAL_OFF, OTHER_CACHE
from frdiff.reporting.record import StepRecord
from frdiff.reporting.report import RunReport


def report(seconds, *evaluations):
    made = [
        StepRecord(step, 1.0, kind, kind, 1.0, ms, calls=int(kind != "skip"), asked=1)
        for step, (kind, ms) in enumerate(evaluations)
    ]
    return RunReport("test", len(made), seconds, finished=True, records=made)


def test_speedups_of_the_network_and_of_the_whole_run():
    # The first evaluation pays for loading. Of 400 ms two skipped ones save 100 each, less what they took.
    run = report(0.5, ("full", 196.0), ("skip", 1.0), ("full", 100.0), ("skip", 1.0), ("full", 102.0))
    assert run.network_seconds == pytest.approx(0.4)
    assert run.network_speedup == pytest.approx(0.6 / 0.4) and run.speedup == pytest.approx(0.7 / 0.5)
    assert "0.50 s sampling, 0.40 s of them network time, which is 1.50x faster" in run.text()
    assert run.data()["network_speedup"] == run.network_speedup and "1.40x faster" in run.line()


@pytest.mark.parametrize("evaluations", [(), (("full", 10.0), ("full", 10.0))])
def test_nothing_is_called_faster_where_everything_was_computed(evaluations):
    run = report(0.1, *evaluations)
    assert "faster" not in run.text() and run.network_speedup == (1.0 if evaluations else None)


def test_without_a_full_evaluation_there_is_nothing_to_compare_with():
    run = report(0.1, ("skip", 1.0))
    assert run.speedup is None and run.network_speedup is None and "faster" not in run.text()


def codes(run):
    return [reason.code for reason in run.reasons]


def test_a_speedup_is_never_told_above_what_the_counts_allow():
    # The full steps happened to be slow just where they are the measure of all.
    run = report(1.5, *[("full", 100.0), ("skip", 0.1)] * 3, *[("full", 400.0), ("skip", 0.1), ("skip", 0.1)] * 4)
    assert run.is_unsteady and run.network_speedup == run.speedup == run.speedup_limit == 18 / 7
    steady = report(0.9, *[("full", 100.0), ("skip", 0.1)] * 8)
    assert not steady.is_unsteady and steady.network_speedup <= steady.speedup_limit == 2.0


def test_what_another_cache_answered_is_in_no_count_and_no_speedup():
    run = report(0.4, ("full", 100.0), ("skip", 1.0), ("full", 100.0), ("skip", 1.0))
    answered = StepRecord(4, 1.0, "full", "full", 1.0)
    more = RunReport("test", 5, 0.4, finished=True, records=[*run.records, answered])
    assert more.counts == run.counts and more.answered_elsewhere == 1
    assert more.network_speedup == run.network_speedup and more.speedup_limit == 2.0
    assert more.line().startswith("2 of 5 steps computed") and "1 answered without the network" in more.text()


def test_a_run_that_was_not_seen_counts_nothing():
    run = RunReport("off", 20, 1.0, finished=True, reasons=[DIAL_OFF])
    assert run.line() == DIAL_OFF.sentence and "computed" not in run.text() and "0 " not in run.line()
    assert RunReport("2x", 20, finished=True).line() == "No step was made."


@pytest.mark.parametrize(
    ("evaluations", "line"),
    [
        ((), "Stopped before the first step."),
        ((("full", 1.0),), "Stopped at step 1 of 20: 1 computed."),
        ((("full", 1.0),) * 3, "Stopped at step 3 of 20: 3 computed."),
        ((("full", 1.0), ("skip", 1.0), ("partial", 1.0)),
         "Stopped at step 3 of 20: 1 computed, 1 computed in part, 1 skipped."),
    ],
)  # fmt: skip
def test_a_stopped_run_says_how_far_it_came(evaluations, line):
    stopped = dataclasses.replace(report(0.1, *evaluations), steps=20, finished=False)
    assert stopped.line() == line and stopped.text().startswith(line)
    other = dataclasses.replace(stopped, reasons=[OTHER_CACHE])
    assert "computed" not in other.line().split(OTHER_CACHE.sentence)[0] and OTHER_CACHE.sentence in other.line()


def test_what_was_begun_when_a_run_was_stopped_is_not_called_answered():
    begun = dataclasses.replace(report(0.1, ("full", 1.0), ("full", 1.0)), steps=9, finished=False)
    begun.records[-1].calls = 0
    assert begun.line() == "Stopped at step 2 of 9: 1 computed." and "answered without" not in begun.text()


def test_steps_of_several_evaluations_are_counted_as_steps_where_a_run_was_stopped():
    stopped = dataclasses.replace(report(0.1, *[("full", 1.0)] * 3), steps=9, finished=False)
    for record, step in zip(stopped.records, (0, 0, 1), strict=True):
        record.step = step
    assert stopped.line() == "Stopped at step 2 of 9: 3 computed."


def test_one_is_not_called_many():
    one = report(0.1, ("full", 1.0))
    assert one.line() == "The only step was computed." and "1 step, 1 network evaluation\n" in one.text()
    assert dataclasses.replace(one, steps=2).line() == "The only evaluation was computed."
    assert report(0.1, ("skip", 1.0)).line().startswith("0 of 1 step computed")
    many = report(0.1, ("full", 1.0), ("full", 1.0))
    assert many.line() == "All 2 steps computed." and "2 steps, 2 network evaluations\n" in many.text()


def test_slower_is_not_called_faster():
    run = report(0.5, ("full", 100.0), ("full", 100.0), ("partial", 150.0))
    assert "no faster" in run.text() and "x faster" not in run.text()


def test_what_is_left_to_another_cache_is_not_called_computed():
    session = start(for_speedup(2.0), [8.0, 4.0, 2.0, 1.0, 0.0], other_cache=True)
    network = torch.nn.Identity()
    for sigma in (8.0, 4.0, 2.0, 1.0):
        session.begin_evaluation(sigma)
        call(session, "key", network, lambda: network(torch.ones(1, 2)))
    run = session.close()
    assert codes(run) == ["other-cache"] and run.line() == OTHER_CACHE.sentence and run.speedup is None
    assert "4 full" not in run.text()


@pytest.mark.parametrize("again", [False, True])
def test_what_was_computed_beyond_the_plan_is_told(again):
    sigmas = [1.0 - step / 16 for step in range(17)]
    session = start(for_speedup(2.0), sigmas)
    network, x = torch.nn.Identity(), torch.ones(1, 4, 8, 8)
    for step, sigma in enumerate(sigmas[:-1]):
        # A sampler of which nothing is known, that asks twice where it ends.
        for _ in range(2 if again and step > 12 else 1):
            session.begin_evaluation(sigma, x)
            call(session, "stream", network, lambda: network(x), x)
    run = session.close()
    less = [reason.sentence for reason in run.reasons if reason.code == "less-than-planned"]
    assert len(less) == again
    if again:
        assert less[0].startswith(f"{run.counts['full']} of {len(run.records)} evaluations were computed")


def test_what_was_spent_before_the_first_step_is_a_part_of_the_time():
    assert start(for_speedup(2.0), [1.0, 0.5, 0.0], seconds_before=3.0).close().seconds >= 3.0
    assert start(for_speedup(2.0), [1.0, 0.5, 0.0]).close().seconds < 3.0
