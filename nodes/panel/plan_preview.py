"""The plan of a run before there is a model: the host's own noise levels, the engine's own schedules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import comfy.model_sampling
import comfy.samplers
import torch
from comfy_api.latest import io

from nodes import NODE_CLASS_MAPPINGS  # pyright: ignore[reportAttributeAccessIssue]  (ComfyUI's nodes.py)

from ...frdiff.blocks.stages import COST_WITHIN_BLOCKS
from ...frdiff.engine import Part, RunFacts
from ...frdiff.errors import FRDiffError
from ...frdiff.planning.schedule import Schedule, plan_of
from ...frdiff.reporting.step_map import Cell, cells_around, planned_cells
from ...frdiff.schedule_files.calibrated import calibrated
from ...frdiff.schedule_files.choice import BY_SPEED, Wish
from ..host.attach import chosen
from ..host.noise_levels import noise_levels_of
from ..host.parts import cut_of
from ..host.rehearse import rehearse
from ..inputs import sampler_inputs, speedup_input, wish_inputs
from ..schedule_folder import AUTO, FILE_WIDGETS, file_of, stamp
from .fronts import cost_of
from .widget_values import widget_values

# Nodes that make a schedule from their widgets alone.
SCHEDULE_NODES = ("FRDiffSchedule",)
# Widgets of a calibration that say which file is its.
FILE_SETTING = ("steps", "cfg", "sampler_name", "scheduler", "effort")
MAX_STEPS = 10000
# The host makes this many to take the last ones of them; more would take it minutes.
MOST_LEVELS = 100000
UNREADABLE = "The request for a plan could not be read."


@dataclass(frozen=True)
class Settings:
    """The sampler's widgets that shape a plan; `schedule` names a node that makes one, with its widgets."""

    steps: int = 20
    sampler_name: str = "euler"
    scheduler: str = "normal"
    denoise: float = 1.0
    start_at_step: int = 0
    end_at_step: int = MAX_STEPS
    add_noise: str = "enable"
    return_with_leftover_noise: str = "disable"
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
    settings = Settings(**widget_values(_widgets(), data), schedule=_source(data.get("schedule")))
    if settings.denoise and settings.steps / settings.denoise > MOST_LEVELS:
        raise FRDiffError(f"{settings.steps} steps are too many at denoise {settings.denoise:g}: take fewer of them.")
    return settings


def plan(settings: Settings) -> dict[str, Any]:
    """The planned cells, their counts and the counted speed-up, as plain data; raises FRDiffError."""
    return _plan(settings, _file_stamp(settings))


@lru_cache(maxsize=256)
def _plan(settings: Settings, _: Any) -> dict[str, Any]:
    schedule = _schedule(settings)
    model = StandardModel()
    levels, sampler = _of_the_host(model, settings)
    cut = cut_of(levels, 0 if settings.add_noise == "disable" else None)
    before, after = (Part(part, rehearse(sampler, torch.tensor(part), model)) for part in (cut.before, cut.after))
    facts = RunFacts(
        levels.tolist(), noise_levels_of(model), response=rehearse(sampler, levels, model), before=before, after=after
    )
    rule = schedule or Schedule("off")
    steps = plan_of(rule, facts)
    cells = {"cells": planned_cells(facts.sigmas, steps), **cells_around(rule, facts)}
    return {
        **{name: cells_data(each) for name, each in cells.items()},
        "counts": {kind.value: count for kind, count in steps.counts.items()},
        "speedup": steps.speedup(COST_WITHIN_BLOCKS) if len(steps) else None,
        "off": schedule is None,
    }


def cells_data(cells: list[Cell]) -> list[dict[str, Any]]:
    """Cells as plain data for JSON."""
    return [dict(vars(cell)) for cell in cells]


def _of_the_host(model: Any, settings: Settings) -> tuple[torch.Tensor, Any]:
    """The noise levels and the sampler object; FRDiffError where they cannot be had without the model."""
    try:
        levels = run_sigmas(model, settings)
        if not torch.isfinite(levels).all():
            raise ValueError("not every noise level is a number")
        return levels, comfy.samplers.sampler_object(settings.sampler_name)
    except Exception as error:
        # Samplers and schedulers of other packs raise what they like.
        names = f"{settings.sampler_name} with {settings.scheduler}"
        raise FRDiffError(f"The plan is known when the run starts: {names} says {str(error)!r} before it.") from error


def run_sigmas(model: Any, settings: Settings) -> torch.Tensor:
    """The noise levels that the host's KSampler gives a run, one more than there are steps, cut out of the whole."""
    sampler = comfy.samplers.KSampler(
        model, settings.steps, "cpu", settings.sampler_name, settings.scheduler, settings.denoise
    )
    # Levels that are left out at a low denoise are no part of the whole.
    levels = sampler.sigmas.clone()
    sigmas = levels[: settings.end_at_step + 1]
    if len(sigmas) < len(levels) and settings.return_with_leftover_noise == "disable":
        sigmas[-1] = 0
    sigmas = sigmas[settings.start_at_step :]
    return sigmas if len(sigmas) > 1 else sigmas[:0]


def _widgets() -> list[Any]:
    """The widgets of Settings. Made for each request: other packs add samplers and schedulers."""
    return [
        *(widget for widget in sampler_inputs("seed") if widget.id in ("steps", "sampler_name", "scheduler")),
        io.Float.Input("denoise", min=0.0, max=1.0),
        io.Int.Input("start_at_step", min=0, max=MAX_STEPS),
        io.Int.Input("end_at_step", min=0, max=MAX_STEPS),
        *(io.Combo.Input(name, options=["enable", "disable"]) for name in ("add_noise", "return_with_leftover_noise")),
        speedup_input(),
    ]


def _source(source: Any) -> tuple[str, tuple[tuple[str, Any], ...]] | None:
    """The node that makes a schedule, with the widgets of it that count, as a key for the cache."""
    if source is None:
        return None
    if not isinstance(source, dict) or not isinstance(source.get("inputs"), dict):
        raise FRDiffError(UNREADABLE)
    name, inputs = source.get("node"), source["inputs"]
    if name not in (*SCHEDULE_NODES, *FILE_WIDGETS):
        raise FRDiffError("The plan is known when the run starts: it comes from a node that has to run first.")
    widgets = _schedule_widgets(name)
    values = widget_values(widgets, inputs)
    needed = [widget.id for widget in widgets if not widget.optional and widget.id not in FILE_SETTING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise FRDiffError(f"The request for a plan has no value for {', '.join(missing)}.")
    return name, tuple(sorted(values.items()))


def _schedule_widgets(name: str) -> list[Any]:
    if name in FILE_WIDGETS:
        # A file may have gone, which its reader says better than a list of names.
        own = [widget for widget in NODE_CLASS_MAPPINGS[name].define_schema().inputs if widget.id in FILE_SETTING]
        return [io.String.Input(FILE_WIDGETS[name]), *wish_inputs(), *own]
    return NODE_CLASS_MAPPINGS[name].define_schema().inputs


def _schedule(settings: Settings) -> Schedule | None:
    if settings.schedule is None:
        return chosen(settings.speedup, None)
    name, inputs = settings.schedule[0], dict(settings.schedule[1])
    if name in FILE_WIDGETS:
        return _of_file(name, inputs)
    return NODE_CLASS_MAPPINGS[name].execute(**inputs).result[0]


def _of_file(name: str, inputs: dict[str, Any]) -> Schedule | None:
    """The schedule of a node that means a file; where the node will find it, the dial is all that is known."""
    wish = Wish(**{widget.id: inputs[widget.id] for widget in wish_inputs() if widget.id in inputs})
    if name == "FRDiffScheduleLoader" and inputs["file"] == AUTO and wish.by == BY_SPEED:
        return chosen(wish.speedup, None)
    try:
        return calibrated(file_of(name, inputs), wish)
    except FRDiffError as error:
        raise cost_of(inputs, error) from error


def _file_stamp(settings: Settings) -> Any:
    """Which schedule files there are, where a plan comes from one: a file may change while ComfyUI runs."""
    return None if settings.schedule is None or settings.schedule[0] not in FILE_WIDGETS else str(stamp())
