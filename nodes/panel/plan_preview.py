"""The plan of a run before there is a model: the host's own noise levels, the engine's own schedules."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import comfy.model_sampling
import comfy.samplers
import torch

from nodes import NODE_CLASS_MAPPINGS  # pyright: ignore[reportAttributeAccessIssue]  (ComfyUI's nodes.py)

from ...frdiff.blocks.stages import COST_WITHIN_BLOCKS
from ...frdiff.errors import FRDiffError
from ...frdiff.planning.run import sampling_run
from ...frdiff.planning.schedule import Schedule
from ...frdiff.reporting.step_map import Cell, planned_cells
from ...frdiff.schedule_files.calibrated import calibrated
from ...frdiff.schedule_files.store import read_schedule
from ..host.attach import chosen
from ..host.noise_levels import noise_levels_of
from ..host.rehearse import rehearse
from ..schedule_folder import FILE_WIDGETS, file_of

# Nodes that make a schedule from their widgets alone.
SCHEDULE_NODES = ("FRDiffSchedule",)
MAX_STEPS = 10000


@dataclass(frozen=True)
class Settings:
    """The sampler's widgets that shape a plan; `schedule` names a node that makes one, with its widgets."""

    steps: int = 20
    sampler_name: str = "euler"
    scheduler: str = "normal"
    denoise: float = 1.0
    start_at_step: int = 0
    end_at_step: int = MAX_STEPS
    speedup: float = 2.0
    schedule: tuple[str, tuple[tuple[str, Any], ...]] | None = None


class StandardModel:
    """Stands in for a MODEL where only its noise levels are asked for: those of SD 1.5 and SDXL."""

    class Sampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
        """The host's own noise levels and noise prediction."""

    def __init__(self) -> None:
        self._sampling = StandardModel.Sampling()

    def get_model_object(self, name: str) -> Any:
        """The host's way of asking for a model's sampling."""
        return self._sampling


def settings_from(data: dict[str, Any]) -> Settings:
    """Settings from what a browser sent; raises FRDiffError with a sentence."""
    try:
        source = data.get("schedule")
        settings = Settings(
            steps=int(data.get("steps", Settings.steps)),
            sampler_name=str(data.get("sampler_name", Settings.sampler_name)),
            scheduler=str(data.get("scheduler", Settings.scheduler)),
            denoise=float(data.get("denoise", Settings.denoise)),
            start_at_step=int(data.get("start_at_step", Settings.start_at_step)),
            end_at_step=int(data.get("end_at_step", Settings.end_at_step)),
            speedup=float(data.get("speedup", Settings.speedup)),
            schedule=(str(source["node"]), tuple(sorted(source["inputs"].items()))) if source else None,
        )
        # What cannot be a key of the cache cannot be a widget's value.
        hash(settings)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise FRDiffError("The request for a plan could not be read.") from error
    if not 1 <= settings.steps <= MAX_STEPS:
        raise FRDiffError(f"The number of steps is {settings.steps}; it must be between 1 and {MAX_STEPS}.")
    return settings


def plan(settings: Settings) -> dict[str, Any]:
    """The planned cells, their counts and the counted speed-up, as plain data; raises FRDiffError."""
    return _plan(settings, _file_stamp(settings))


@lru_cache(maxsize=256)
def _plan(settings: Settings, _: Any) -> dict[str, Any]:
    schedule = _schedule(settings)
    model = StandardModel()
    levels = run_sigmas(model, settings)
    sigmas = levels.tolist()
    response = rehearse(comfy.samplers.sampler_object(settings.sampler_name), levels, model)
    run = sampling_run(sigmas, noise_levels_of(model), response if schedule and schedule.options.adapts else None)
    steps = (schedule or Schedule("off")).plan(run)
    return {
        "cells": cells_data(planned_cells(sigmas, steps)),
        "counts": {kind.value: count for kind, count in steps.counts.items()},
        "speedup": steps.speedup(COST_WITHIN_BLOCKS) if len(steps) else None,
        "off": schedule is None,
    }


def cells_data(cells: list[Cell]) -> list[dict[str, Any]]:
    """Cells as plain data for JSON."""
    return [dict(vars(cell)) for cell in cells]


def run_sigmas(model: Any, settings: Settings) -> torch.Tensor:
    """The noise levels that the host's KSampler gives a run, one more than there are steps."""
    sampler = comfy.samplers.KSampler(
        model, settings.steps, "cpu", settings.sampler_name, settings.scheduler, settings.denoise
    )
    sigmas = sampler.sigmas[: settings.end_at_step + 1][settings.start_at_step :]
    return sigmas if len(sigmas) > 1 else sigmas[:0]


def _schedule(settings: Settings) -> Schedule | None:
    if settings.schedule is None:
        return chosen(settings.speedup, None)
    name, inputs = settings.schedule[0], dict(settings.schedule[1])
    try:
        if name in FILE_WIDGETS:
            return calibrated(read_schedule(file_of(name, inputs)), float(inputs["speedup"]))
        node = NODE_CLASS_MAPPINGS.get(name) if name in SCHEDULE_NODES else None
        if node is None:
            raise FRDiffError("The plan is known when the run starts: it comes from a node that has to run first.")
        wanted = inspect.signature(node.execute).parameters
        return node.execute(**{key: value for key, value in inputs.items() if key in wanted}).result[0]
    except FRDiffError:
        raise
    except (TypeError, ValueError, KeyError) as error:
        raise FRDiffError("The request for a plan could not be read.") from error


def _file_stamp(settings: Settings) -> Any:
    """Which file a plan comes from, and when it was written: a file may change while ComfyUI runs."""
    if settings.schedule is None or settings.schedule[0] not in FILE_WIDGETS:
        return None
    path = file_of(settings.schedule[0], dict(settings.schedule[1]))
    return (str(path), path.stat().st_mtime_ns) if path.is_file() else None
