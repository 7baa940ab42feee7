"""Whether other keyframes than the dial's would be better (study.py). A module of the pack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import torch

from bench.usual_settings import SETTINGS, Setting, groups
from setup.in_process import DemoModel

from ...frdiff.planning.plan import Plan, StepKind
from ...frdiff.planning.prior import PriorSchedule
from ...frdiff.planning.run import SamplingRun
from ..calibrate.held_out import HeldOut, runs_of
from .usual import case_of, scheduled, together

BENT = (
    "unet euler karras 28 cfg 12", "unet dpmpp_2m karras 28 cfg 8", "unet dpmpp_2m karras 20 cfg 7",
    "unet dpmpp_2m beta 28 cfg 7", "unet euler simple 20 cfg 4", "dit euler simple 20 cfg 4",
    "rough dpmpp_2m karras 20 cfg 7",
)  # fmt: skip
POWERS, DIALS = (0.25, 0.4), (2.0, 1.5)
SEARCHED = ("unet dpmpp_2m karras 20 cfg 8", "rough dpmpp_2m karras 20 cfg 7")
PLANS_TRIED = 150
# In dB: less is chance.
BETTER = 0.05
# Pairs, and the draws that a plan is chosen on and seen on.
PAIRS, CHOOSE, SEE = 16, "choose20", "choose21"


@dataclass(frozen=True)
class Bent(PriorSchedule):
    """The dial with an error counted by the flow time to a power as well: less, the later it is made."""

    power: float = 0.0

    def plan(self, run: SamplingRun) -> Plan:
        weights = zip(run.error_weight, run.times, strict=False)
        return super().plan(replace(run, error_weight=tuple(weight * time**self.power for weight, time in weights)))


@dataclass(frozen=True)
class Keyframes(PriorSchedule):
    """The dial with keyframes that are given."""

    keyframes: tuple[int, ...] = ()

    def plan(self, run: SamplingRun) -> Plan:
        return Plan.with_keyframes(self.keyframes, run.length, step_of_evaluation=run.step_of_evaluation)


def bent(host: Any) -> None:
    """What bent costs gain over the dial, in dB."""
    for setting in _settings(BENT):
        runs = runs_of(host, setting, CHOOSE, PAIRS)
        for speedup in DIALS:
            dial = _levels(runs, PriorSchedule("dial", speedup=speedup))
            others = [_levels(runs, Bent("bent", speedup=speedup, power=power)) for power in POWERS]
            gains = " ".join(f"{(each - dial).mean():+.2f}" for each in others)
            print(setting, speedup, f"{dial.mean():.1f}", gains, flush=True)


def search(host: Any) -> None:
    """The best of many plans with as many keyframes as the dial's, each one keyframe away from the best so far."""
    for setting in _settings(SEARCHED):
        start = _keyframes_of_dial(host, setting)
        chosen_on, seen_on = (runs_of(host, setting, draw, PAIRS) for draw in (CHOOSE, SEE))
        best = _best_plan(chosen_on, start, setting.steps)
        chosen, seen = (_gain(runs, start, best) for runs in (chosen_on, seen_on))
        print(setting, start, best, f"chosen on {chosen:+.2f} seen on {seen:+.2f}", flush=True)


def _best_plan(runs: HeldOut, start: tuple[int, ...], steps: int) -> tuple[int, ...]:
    best, plans = start, moved(start, steps)
    for _ in range(PLANS_TRIED):
        plan = next(plans, None)
        if plan is None:
            break
        if _gain(runs, best, plan) > BETTER:
            best, plans = plan, moved(plan, steps)
    return best


def _gain(runs: HeldOut, before: tuple[int, ...], after: tuple[int, ...]) -> float:
    levels = [_levels(runs, Keyframes("given", keyframes=plan)) for plan in (before, after)]
    return float((levels[1] - levels[0]).mean())


def _keyframes_of_dial(host: Any, setting: Setting) -> tuple[int, ...]:
    demo, group = DemoModel(host, setting.model), groups(CHOOSE, 1)[0]
    case = case_of(host, {}, demo, setting).of(len(group.prompts))
    report = scheduled(PriorSchedule("dial"))(case)(group.seed, together(demo, group.prompts))[1]
    return tuple(step for step, record in enumerate(report.records) if record.kind == StepKind.FULL.value)


def moved(keyframes: tuple[int, ...], steps: int) -> Iterator[tuple[int, ...]]:
    """The plans with one keyframe in another place, in no order; the first step stays one."""
    places = [(old, new) for old in keyframes if old for new in range(1, steps) if new not in keyframes]
    for old, new in Random(0).sample(places, len(places)):
        yield tuple(sorted({*keyframes, new} - {old}))


def _settings(names: tuple[str, ...]) -> list[Setting]:
    return [setting for setting in SETTINGS if str(setting) in names]


def _levels(runs: HeldOut, schedule: PriorSchedule) -> torch.Tensor:
    return torch.tensor(runs.levels(schedule))
