"""What a run did, step by step, in words and as data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from ..planning.plan import StepKind
from ..reasons import Reason

SAMPLER_KINDS = {
    True: "adds noise at each step: denoised latents are forecast",
    False: "deterministic: the network's outputs are forecast",
}


@dataclass
class StepRecord:
    """One evaluation of the sampler: solver step, sigma, kind, milliseconds of network time, network calls.

    `forecast_error` is that of the forecast that a full step was compared with, relative to what was forecast.
    """

    step: int
    sigma: float
    kind: str
    planned: str
    mix: float
    ms: float = 0.0
    calls: int = 0
    forecast_error: float | None = None


@dataclass
class RunReport:
    """A whole sampling run. `seconds` is wall-clock; `speedup` is estimated from the run's own full steps.

    `bytes_reserved` were asked for before the networks were loaded, `bytes_kept` is the most that was remembered.

    `finished` is False while it runs, and stays so when it was interrupted or failed.
    """

    schedule: str
    steps: int
    seconds: float = 0.0
    bytes_kept: int = 0
    bytes_reserved: int = 0
    stages: int = 0
    forecaster: str = "reuse"
    stochastic: bool | None = None
    finished: bool = False
    reasons: list[Reason] = field(default_factory=list)
    records: list[StepRecord] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Evaluations of each kind."""
        return {kind.value: sum(r.kind == kind.value for r in self.records) for kind in StepKind}

    @property
    def network_seconds(self) -> float:
        """What of the time was network time: nothing else can be saved."""
        return sum(record.ms for record in self.records) / 1000

    @property
    def speedup(self) -> float | None:
        """Estimated time of a run with every evaluation full, over the measured time; None without full ones."""
        return self._speedup_of(self.seconds)

    @property
    def network_speedup(self) -> float | None:
        """The same of network time alone, which is what a dial sets."""
        return self._speedup_of(self.network_seconds)

    def _speedup_of(self, seconds: float) -> float | None:
        # The first evaluation pays for loading and warm-up, so it stands for the others only when it is alone.
        full = [r.ms for r in self.records if r.kind == StepKind.FULL.value]
        if not full or not seconds:
            return None
        typical = median(full[1:] or full)
        reused = [r for r in self.records if r.kind != StepKind.FULL.value]
        saved = sum(typical - r.ms for r in reused) / 1000
        return (seconds + saved) / seconds

    @property
    def reuse_is_slower(self) -> bool:
        """Whether partial steps took as long as full ones; False where there is too little to compare."""
        full = [r.ms for r in self.records if r.kind == StepKind.FULL.value][1:]
        partial = [r.ms for r in self.records if r.kind == StepKind.PARTIAL.value]
        return bool(full and partial) and median(partial) >= median(full)

    @property
    def _sentences(self) -> list[str]:
        return [reason.sentence for reason in self.reasons]

    def add_reason(self, reason: Reason) -> None:
        """Note, once, why less was reused than planned."""
        if reason not in self.reasons:
            self.reasons.append(reason)

    def line(self) -> str:
        """One line for the node: computed steps, speed, memory, or the reason."""
        counts = self.counts
        total, full = sum(counts.values()), counts["full"]
        unit = "steps" if total == self.steps else "evaluations"
        if full == total:
            return " ".join([f"All {total} {unit} computed.", *self._sentences])
        speed = f"{self.speedup:.2f}x faster, " if self.speedup else ""
        return f"{full} of {total} {unit} computed, {speed}{self.bytes_kept / 1e6:.1f} MB kept"

    def text(self) -> str:
        """The report for a reader."""
        counts = self.counts
        reused = self.network_speedup and counts["full"] < len(self.records)
        rows = [
            self.line(),
            f"schedule   {self.schedule}, {self.steps} steps, {len(self.records)} network evaluations",
            f"computed   {counts['full']} full, {counts['partial']} partial, {counts['skip']} skipped",
            f"time       {self.seconds:.2f} s sampling, {self.network_seconds:.2f} s of them network time"
            + (f", which is {self.network_speedup:.2f}x faster" if reused else ""),
            f"kept       {self.bytes_kept / 1e6:.1f} MB, {self.stages} stages; "
            f"{self.bytes_reserved / 1e6:.1f} MB were reserved before",
            *([f"sampler    {SAMPLER_KINDS[self.stochastic]}"] if self.stochastic is not None else []),
        ]
        for kind in StepKind:
            times = [r.ms for r in self.records if r.kind == kind.value]
            if times:
                rows.append(f"{kind.value:<10} {median(times):.1f} ms each (median)")
        return "\n".join(rows + [f"note       {sentence}" for sentence in self._sentences])

    def summary(self) -> dict[str, Any]:
        """The report without its evaluations, as plain data."""
        return {
            "schedule": self.schedule,
            "steps": self.steps,
            "counts": self.counts,
            "seconds": self.seconds,
            "network_seconds": self.network_seconds,
            "speedup": self.speedup,
            "network_speedup": self.network_speedup,
            "bytes_kept": self.bytes_kept,
            "bytes_reserved": self.bytes_reserved,
            "stages": self.stages,
            "forecaster": self.forecaster,
            "stochastic": self.stochastic,
            "finished": self.finished,
            "reason": " ".join(self._sentences) or None,
            "reasons": [asdict(reason) for reason in self.reasons],
        }

    def data(self) -> dict[str, Any]:
        """The report as plain data, for JSON."""
        return {**self.summary(), "records": [asdict(record) for record in self.records]}

    def json(self) -> str:
        """The report as a JSON document."""
        return json.dumps(self.data(), indent=1)
