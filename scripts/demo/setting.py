"""What people choose for a model, as templates and forums say: a sampler's settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """A model by its short name, and the settings of its sampler."""

    model: str
    sampler: str
    scheduler: str
    steps: int
    cfg: float

    def __str__(self) -> str:
        return f"{self.model} {self.sampler} {self.scheduler} {self.steps} cfg {self.cfg:g}"
