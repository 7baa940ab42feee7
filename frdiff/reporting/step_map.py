"""The map of a run or a plan: a cell for each solver step, as the canvas and plots show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..engine import RunFacts
from ..planning.plan import Plan, StepKind
from ..planning.schedule import Schedule, plans_around
from .record import StepRecord


@dataclass(frozen=True)
class Cell:
    """One solver step: sigma, kind, milliseconds of network time, forecast error relative to the output.

    A step of which some evaluations are full and others are not is a partial one. `evaluations` is 0 for a step that
    was only planned.
    """

    step: int
    sigma: float
    kind: str
    planned: str
    mix: float = 1.0
    ms: float = 0.0
    forecast_error: float | None = None
    evaluations: int = 0


def planned_cells(sigmas: Sequence[float], plan: Plan) -> list[Cell]:
    """The cells of a plan; `sigmas` are the noise levels at which steps start."""
    cells: dict[int, Cell] = {}
    for step, planned in zip(plan.step_of_evaluation, plan, strict=True):
        before = cells.get(step)
        kind = planned.kind.value if before is None else _kind_of_both(before.kind, planned.kind.value)
        cells[step] = Cell(step, float(sigmas[step]), kind, kind, planned.mix)
    return list(cells.values())


def cells_around(schedule: Schedule, facts: RunFacts) -> dict[str, list[Cell]]:
    """The cells of the parts that are sampled `before` and `after` a run; empty for a run that is sampled in one."""
    before, after = plans_around(schedule, facts)
    cells = {"before": planned_cells(facts.before.sigmas, before), "after": planned_cells(facts.after.sigmas, after)}
    return cells if any(cells.values()) else {}


def computed_cells(records: Iterable[StepRecord]) -> dict[int, Cell]:
    """The cells of the steps that ran, by step."""
    cells: dict[int, Cell] = {}
    for record in records:
        cells[record.step] = with_record(cells.get(record.step), record)
    return cells


def with_record(cell: Cell | None, record: StepRecord) -> Cell:
    """A step's cell with one more evaluation in it."""
    if cell is None:
        return Cell(
            record.step, record.sigma, record.kind, record.planned, record.mix, record.ms, record.forecast_error, 1
        )
    errors = [error for error in (cell.forecast_error, record.forecast_error) if error is not None]
    return replace(
        cell,
        kind=_kind_of_both(cell.kind, record.kind),
        planned=_kind_of_both(cell.planned, record.planned),
        ms=cell.ms + record.ms,
        forecast_error=max(errors, default=None),
        evaluations=cell.evaluations + 1,
    )


def _kind_of_both(one: str, other: str) -> str:
    return one if one == other else StepKind.PARTIAL.value
