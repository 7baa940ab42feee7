"""How near context windows come, those that stay and those that move (study.py). Loaded as a module of the pack."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import comfy_extras.nodes_context_windows as windows_of_host
import torch

from bench.methods import Case, fewer_steps
from setup.in_process import DemoModel, of_text_alone

from ...frdiff.planning.presets import for_speedup
from ...frdiff.reporting.metrics import latent_error
from .usual import scheduled
from .video import CFG, SCHEDULER, shifted

SCHEDULES = ("standard_static", "standard_uniform", "looped_uniform")
SAMPLERS = ("euler", "dpmpp_2m")
PROMPTS = ("rocket slide", "dog face turn", "panda bounce", "frog slide")
STEPS, SHIFT, SPEEDUP, SEED = 20, 8.0, 2.0, 1
# Of the latent; a window has 17 frames of the clip and shares 8 of them with the next.
LENGTH, SHOWN, SHARED = 9, 17, 8


def windows(host: Any) -> None:
    """For each kind of window the share of calls that was computed, and both errors of each clip."""
    demo = DemoModel(host, "video")
    model = of_text_alone(shifted(host, demo.model, SHIFT))
    print("windows, FreeNoise, sampler: calls computed; error of each latent, that of as many plain steps, reasons")
    for schedule, (noise, given), sampler in product(SCHEDULES, _noises(), SAMPLERS):
        case = Case(
            host, {}, _windowed(model, schedule, given), demo.encode(""), torch.zeros(1, 16, LENGTH, 10, 10), STEPS,
            sampler, CFG, SCHEDULER,
        )  # fmt: skip
        shares, errors, reasons = [], [], set[str]()
        for prompt in PROMPTS:
            share, pair, codes = _clip(case, demo.encode(prompt))
            shares.append(f"{share:.2f}")
            errors.append(f"{pair[0]:.3f} {pair[1]:.3f}")
            reasons |= codes
        print(f"{schedule} {noise} {sampler}: {' '.join(shares)}; {', '.join(errors)}; {' '.join(sorted(reasons))}",
              flush=True)  # fmt: skip


def _clip(case: Case, positive: Any) -> tuple[float, tuple[float, float], set[str]]:
    """The share of calls that was computed, the errors of the dial and of fewer steps, and the reasons' codes."""
    with torch.inference_mode():
        plain = fewer_steps(1)(case)(SEED, positive)[0]
        ours, report = scheduled(for_speedup(SPEEDUP))(case)(SEED, positive)
        share = sum(each.calls for each in report.records) / sum(each.asked for each in report.records)
        # Where all is computed, a step less shows how much a clip changes at all.
        steps = min(math.ceil(STEPS * share - 1e-6), STEPS - 1)
        few = fewer_steps(steps / STEPS)(case)(SEED, positive)[0]
    return share, (latent_error(plain, ours), latent_error(plain, few)), {reason.code for reason in report.reasons}


def _noises() -> Iterator[tuple[str, dict[str, bool]]]:
    """With FreeNoise and without it, where the host has it."""
    yield "off", {"freenoise": False} if _has_freenoise() else {}
    if _has_freenoise():
        yield "on", {"freenoise": True}


def _has_freenoise() -> bool:
    return "freenoise" in inspect.signature(windows_of_host.WanContextWindowsManualNode.execute).parameters


def _windowed(model: Any, schedule: str, noise: dict[str, bool]) -> Any:
    made: Any = windows_of_host.WanContextWindowsManualNode.execute(
        model, context_length=SHOWN, context_overlap=SHARED, context_schedule=schedule, context_stride=1,
        closed_loop=schedule.startswith("looped"), fuse_method="pyramid", **noise,
    )  # fmt: skip
    return made.result[0]
