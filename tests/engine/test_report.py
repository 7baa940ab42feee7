"""What a run says of its time."""

import pytest

from frdiff.reporting.report import RunReport, StepRecord


def report(seconds, *evaluations):
    made = [StepRecord(step, 1.0, kind, kind, 1.0, ms) for step, (kind, ms) in enumerate(evaluations)]
    return RunReport("test", len(made), seconds, records=made)


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
