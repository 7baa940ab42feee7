"""What is noted of one evaluation of a run, and what the records say of forecasts together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from ..planning.plan import StepKind


@dataclass
class StepRecord:
    """One evaluation of the sampler: solver step, sigma, kind, milliseconds of network time, network calls.

    `calls` are those in which the network computed, of the `asked` ones. `forecast_error` is that of the forecast that
    a full step was compared with, relative to what was forecast: of several parts of the latent the largest, and
    `forecast_errors` are those of each by its name.
    """

    step: int
    sigma: float
    kind: str
    planned: str
    mix: float
    ms: float = 0.0
    calls: int = 0
    forecast_error: float | None = None
    asked: int = 0
    forecast_errors: dict[str, float] = field(default_factory=dict[str, float])

    def note_errors(self, errors: Mapping[str, float]) -> None:
        """Note the errors of a forecast by part of the latent; the only part has no name."""
        self.forecast_error = max(errors.values())
        self.forecast_errors = {name: error for name, error in errors.items() if name}

    @property
    def is_answered_elsewhere(self) -> bool:
        """Whether it was to be computed and the network was not called, as when another pack's cache answers."""
        return self.kind != StepKind.SKIP.value and not self.calls

    @property
    def is_computed_alone(self) -> bool:
        """Whether all that was asked for was computed in full, so that its time is that of a full evaluation."""
        return self.kind == StepKind.FULL.value and self.calls >= max(self.asked, 1)


def errors_of_parts(records: Iterable[StepRecord]) -> dict[str, float]:
    """The median of the tested forecasts' errors by part of the latent; empty where it is of one part."""
    found: dict[str, list[float]] = {}
    for record in records:
        for name, error in record.forecast_errors.items():
            found.setdefault(name, []).append(error)
    return {name: median(errors) for name, errors in found.items()}
