"""Cells: one for each solver step, whatever the sampler does with it."""

from frdiff.planning.paper import PaperSchedule
from frdiff.planning.run import SamplingRun
from frdiff.reporting.record import StepRecord
from frdiff.reporting.step_map import computed_cells, planned_cells


def record(step, kind, ms=1.0, error=None, planned="skip"):
    return StepRecord(step, 10.0 - step, kind, planned, 1.0, ms=ms, calls=1, forecast_error=error)


def test_a_plan_has_a_cell_for_each_step():
    times = tuple(1 - i / 6 for i in range(7))
    cells = planned_cells([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 0.0], PaperSchedule("m2").plan(SamplingRun(times)))
    assert [cell.step for cell in cells] == list(range(6))
    assert [cell.sigma for cell in cells] == [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
    assert all(cell.evaluations == 0 and cell.kind == cell.planned for cell in cells)


def test_evaluations_of_a_step_share_its_cell():
    cells = computed_cells([
        record(0, "full", 4.0), record(1, "skip", 0.5), record(1, "full", 5.0, 0.25), record(0, "skip", 0.5, 0.5),
    ])  # fmt: skip
    assert sorted(cells) == [0, 1]
    # Of each one evaluation was full and the other was not.
    assert (cells[1].kind, cells[1].ms, cells[1].evaluations, cells[1].forecast_error) == ("partial", 5.5, 2, 0.25)
    assert (cells[0].kind, cells[0].ms, cells[0].forecast_error) == ("partial", 4.5, 0.5)
