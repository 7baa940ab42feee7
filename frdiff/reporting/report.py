"""What a run did, step by step, in words and as data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from ..planning.plan import StepKind
from ..reasons import OTHER_CACHE, Reason
from .record import StepRecord, errors_of_parts

SAMPLER_KINDS = {
    True: ("adds noise at each step", "denoised latents"),
    False: ("deterministic", "the network's outputs"),
}
# Times that say more than the counts allow, by more than this, are called unsteady.
STEADY = 1.05
# A speed-up below it would be shown as 1.00.
NOTICEABLE = 1.005


@dataclass
class RunReport:
    """A whole sampling run. `seconds` is wall-clock; `speedup` is estimated from the run's own full steps.

    Evaluations that were answered without the network are in no count and in no speed-up.

    `bytes_reserved` were asked for before the networks were loaded, `bytes_kept` is the most that was remembered.

    `finished` is False while it runs, and stays so when it was interrupted or failed. `model` is its kind, if known.
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
    model: str = ""
    reasons: list[Reason] = field(default_factory=list[Reason])
    records: list[StepRecord] = field(default_factory=list[StepRecord])

    @property
    def counts(self) -> dict[str, int]:
        """Evaluations of each kind, without those that were answered elsewhere."""
        return {kind.value: len(self._of_kind(kind)) for kind in StepKind}

    @property
    def answered_elsewhere(self) -> int:
        """Evaluations that were to be computed and for which the network was not called."""
        return sum(record.is_answered_elsewhere for record in self.records)

    @property
    def speedup_limit(self) -> float | None:
        """The speed-up that the counts allow, where all that is not full takes no time; None without full ones."""
        counts = self.counts
        return sum(counts.values()) / counts["full"] if counts["full"] else None

    @property
    def is_unsteady(self) -> bool:
        """Whether the times say more than the counts allow."""
        said = self._estimate(self.network_seconds)
        return bool(said and self.speedup_limit and said > self.speedup_limit * STEADY)

    @property
    def network_seconds(self) -> float:
        """What of the time was network time: nothing else can be saved."""
        return sum(record.ms for record in self.records) / 1000

    @property
    def speedup(self) -> float | None:
        """Estimated time of a run with every evaluation full, over the measured time; None without full ones.

        At most what the counts allow, however unsteady the times are. None also where another cache does the work.
        """
        return self._speedup_of(self.seconds)

    @property
    def network_speedup(self) -> float | None:
        """The same of network time alone, which is what a dial sets."""
        return self._speedup_of(self.network_seconds)

    def _speedup_of(self, seconds: float) -> float | None:
        said, limit = self._estimate(seconds), self.speedup_limit
        return None if said is None or limit is None or self._is_left_to_another else min(said, limit)

    def _estimate(self, seconds: float) -> float | None:
        # The first evaluation pays for loading and warm-up, so it stands for the others only when it is alone.
        full = [r.ms for r in self.records if r.is_computed_alone]
        if not full or not seconds:
            return None
        typical = median(full[1:] or full)
        reused = [*self._of_kind(StepKind.PARTIAL), *self._of_kind(StepKind.SKIP)]
        saved = sum(typical - r.ms for r in reused) / 1000
        return (seconds + saved) / seconds

    @property
    def reuse_is_slower(self) -> bool:
        """Whether partial steps took as long as full ones; False where there is too little to compare."""
        full = [r.ms for r in self.records if r.is_computed_alone][1:]
        partial = [r.ms for r in self._of_kind(StepKind.PARTIAL)]
        return bool(full and partial) and median(partial) >= median(full)

    @property
    def _sentences(self) -> list[str]:
        return [reason.sentence for reason in self.reasons]

    @property
    def _is_left_to_another(self) -> bool:
        return OTHER_CACHE in self.reasons

    def _of_kind(self, kind: StepKind) -> list[StepRecord]:
        return [r for r in self.records if r.kind == kind.value and not r.is_answered_elsewhere]

    def add_reason(self, reason: Reason) -> None:
        """Note, once, why less was reused than planned."""
        if reason not in self.reasons:
            self.reasons.append(reason)

    def line(self) -> str:
        """One line for the node: computed steps, speed, memory, or the reason; of a stopped run how far it came."""
        total, full = len(self.records), self.counts["full"]
        if not self.finished:
            return " ".join([self._stopped(), *self._sentences])
        if not total or self._is_left_to_another:
            # What was computed was not seen here.
            return " ".join(self._sentences) or "No step was made."
        unit = "step" if total == self.steps else "evaluation"
        if full == total:
            whole = f"The only {unit} was computed." if total == 1 else f"All {amount(total, unit)} computed."
            return " ".join([whole, *self._sentences])
        speed = f"{faster(self.speedup)}, " if self.speedup else ""
        return f"{full} of {amount(total, unit)} computed, {speed}{self.bytes_kept / 1e6:.1f} MB kept"

    def text(self) -> str:
        """The report for a reader."""
        if not self.records:
            return "\n".join([self.line(), f"time       {self.seconds:.2f} s sampling"])
        rows = [
            self.line(),
            f"schedule   {self.schedule}, {amount(self.steps, 'step')}, "
            f"{amount(len(self.records), 'network evaluation')}",
            f"computed   {self._computed()}",
            f"time       {self.seconds:.2f} s sampling, {self.network_seconds:.2f} s of them network time"
            + (f", which is {faster(self.network_speedup)}" if self.network_speedup and self._reuses else ""),
            f"kept       {self.bytes_kept / 1e6:.1f} MB, {amount(self.stages, 'stage')}; "
            f"{self.bytes_reserved / 1e6:.1f} MB were reserved before",
            *([f"sampler    {self._sampler()}"] if self.stochastic is not None else []),
            *([f"forecasts  {self._errors()}"] if errors_of_parts(self.records) else []),
        ]
        for kind in StepKind:
            times = [r.ms for r in self._of_kind(kind)]
            if times:
                rows.append(f"{kind.value:<10} {duration(median(times))} each (median)")
        return "\n".join(rows + [f"note       {sentence}" for sentence in self._sentences])

    @property
    def _reuses(self) -> bool:
        return self.counts["partial"] + self.counts["skip"] > 0

    def _stopped(self) -> str:
        """How far a run came that was stopped, or that is not at its end yet."""
        if not self.records:
            return "Stopped before the first step."
        place = f"Stopped at step {self.records[-1].step + 1} of {self.steps}"
        words = {"full": "computed", "partial": "computed in part", "skip": "skipped"}
        counts = {} if self._is_left_to_another else self.counts
        known = ", ".join(f"{count} {words[kind]}" for kind, count in counts.items() if count)
        return f"{place}: {known}." if known else f"{place}."

    def _computed(self) -> str:
        if self._is_left_to_another:
            return "by the network or by the other cache, which does not say"
        # The evaluation in which a run was stopped is not known to have been answered at all.
        counts, elsewhere = self.counts, self.answered_elsewhere if self.finished else 0
        listed = f"{counts['full']} full, {counts['partial']} partial, {counts['skip']} skipped"
        return listed + (f", {elsewhere} answered without the network" if elsewhere else "")

    def _sampler(self) -> str:
        kind, forecast = SAMPLER_KINDS[bool(self.stochastic)]
        return f"{kind}: {forecast} are forecast" if self.counts["skip"] else kind

    def _errors(self) -> str:
        each = [f"{name} {error * 100:.1f} %" for name, error in errors_of_parts(self.records).items()]
        return f"{', '.join(each)} off (median of those that were tested)"

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
            "speedup_limit": self.speedup_limit,
            "answered_elsewhere": self.answered_elsewhere,
            "bytes_kept": self.bytes_kept,
            "bytes_reserved": self.bytes_reserved,
            "stages": self.stages,
            "forecaster": self.forecaster,
            "forecast_errors": errors_of_parts(self.records),
            "stochastic": self.stochastic,
            "finished": self.finished,
            "model": self.model,
            "reason": " ".join(self._sentences) or None,
            "reasons": [asdict(reason) for reason in self.reasons],
        }

    def data(self) -> dict[str, Any]:
        """The report as plain data, for JSON."""
        return {**self.summary(), "records": [asdict(record) for record in self.records]}

    def json(self) -> str:
        """The report as a JSON document."""
        return json.dumps(self.data(), indent=1)


def faster(speedup: float) -> str:
    """A speed-up in words."""
    return f"{speedup:.2f}x faster" if speedup >= NOTICEABLE else "no faster"


def duration(ms: float) -> str:
    """Milliseconds in words: in seconds where they are longer than one."""
    return f"{ms / 1000:.2f} s" if ms >= 1000 else f"{ms:.1f} ms"


def amount(number: int, noun: str) -> str:
    """So many of a noun, which takes an s where there is not one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
