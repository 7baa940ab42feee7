"""The video model at the settings that people use: quality and motion at equal counted cost."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from statistics import fmean
from typing import Any

import torch

from bench.methods import Case, dial, fewer_steps
from bench.timing import CallCounter, counted_calls
from bench.usual_settings import EMPTY_LATENTS, KINDS, Group
from demo.clips import MOTIONS, clip_names
from setup import ScriptError
from setup.in_process import DemoModel

from ...frdiff.reporting.metrics import psnr
from ...frdiff.reporting.motion import flicker, path_error, worst_frame
from .usual import together

SHIFTS = (5, 8)
CFG, SCHEDULER = 5.0, "simple"
# Clips of different prompts in one run.
BATCH = 5
MEASURES = {"psnr": psnr, "worst_frame": worst_frame, "flicker": flicker, "path_error": path_error}


@dataclass(frozen=True)
class ClipSetting:
    """A sampler, its steps and the shift of the noise levels."""

    sampler: str
    steps: int
    shift: float

    def __str__(self) -> str:
        return f"video {self.sampler} {SCHEDULER} {self.steps} shift {self.shift:g} cfg {CFG:g}"


@dataclass(frozen=True)
class Found:
    """What a method made of a group: the figures of each clip, and its cost as a share of the plain run's."""

    figures: list[dict[str, float]]
    cost: float


def measure(host: Any, presets: Mapping[str, Any], arguments: Any, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row for each setting, dial and method."""
    settings = [ClipSetting(*each) for each in product(arguments.samplers, arguments.steps, SHIFTS)]
    settings = [each for each in settings if any(fnmatchcase(str(each), pattern) for pattern in arguments.rows)]
    if not settings:
        raise ScriptError(f"No setting matches {' '.join(arguments.rows)}. One is {ClipSetting('euler', 20, 5)!s:}.")
    demo, rows = DemoModel(host, "video"), []
    groups = drawn(arguments.draw, arguments.pairs)
    say(head())
    for setting in settings:
        found = compare(host, presets, demo, setting, groups, arguments.dials)
        rows += found
        say("\n".join(lines(found)))
    return rows


def drawn(draw: str, pairs: int, batch: int = BATCH) -> list[Group]:
    """`pairs` prompts in groups of one seed; each draw has its own, and motions turn."""
    chance = random.Random(draw)
    motions = [list(MOTIONS)[i % len(MOTIONS)] for i in range(pairs)]
    prompts = [f"{chance.choice(clip_names())} {motion}" for motion in motions]
    parts = [tuple(prompts[start : start + batch]) for start in range(0, pairs, batch)]
    return [Group(part, KINDS[:1] * len(part), chance.randrange(2**31)) for part in parts]


def compare(
    host: Any, presets: Mapping[str, Any], demo: DemoModel, setting: ClipSetting, groups: Sequence[Group],
    dials: Sequence[float],
) -> list[dict[str, Any]]:  # fmt: skip
    """The rows of one setting."""
    model = shifted(host, demo.model, setting.shift)
    latent = torch.zeros(1, *EMPTY_LATENTS["video"])
    case = Case(host, presets, model, demo.encode(""), latent, setting.steps, setting.sampler, CFG, SCHEDULER)
    network, by_group = demo.model.model.diffusion_model, []
    short = replace(case, steps=2)
    with counted_calls(network, lambda: fewer_steps(1)(short)(0, demo.encode(""))) as counter:
        for group in groups:
            by_group.append(_of_group(case, demo, group, dials, counter))
    return [
        _row(setting, speedup, method, [each[speedup][method] for each in by_group])
        for speedup in dials for method in ("fewer", "dial")
    ]  # fmt: skip


def shifted(host: Any, model: Any, shift: float) -> Any:
    """The MODEL with the host's node for the shift."""
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    return ModelSamplingSD3().patch(model, float(shift))[0]


def _of_group(
    case: Case, demo: DemoModel, group: Group, dials: Sequence[float], counter: CallCounter
) -> dict[float, dict[str, Found]]:
    """By dial and method, what the clips of a group are."""
    case = case.of(len(group.prompts))
    positive = together(demo, group.prompts)

    def run(make: Callable[[Case], Any]) -> tuple[torch.Tensor, int]:
        before = counter.calls
        with torch.inference_mode():
            latent = make(case)(group.seed, positive)[0]
            return demo.vae.decode(latent).nan_to_num(), counter.calls - before

    plain, all_calls = run(fewer_steps(1))

    def found(make: Callable[[Case], Any]) -> Found:
        clips, calls = run(make)
        pairs = zip(plain, clips, strict=True)
        return Found([{name: of(*pair) for name, of in MEASURES.items()} for pair in pairs], calls / all_calls)

    def at(speedup: float) -> dict[str, Found]:
        ours = found(dial(speedup))
        # As many steps as can be had for the same calls, or the part of one above.
        return {"dial": ours, "fewer": found(fewer_steps(math.ceil(case.steps * ours.cost - 1e-6) / case.steps))}

    return {speedup: at(speedup) for speedup in dials}


def _row(setting: ClipSetting, speedup: float, method: str, found: Sequence[Found]) -> dict[str, Any]:
    figures = [each for one in found for each in one.figures]
    means = {name: fmean(each[name] for each in figures) for name in MEASURES}
    return {
        "setting": str(setting), "sampler": setting.sampler, "steps": setting.steps, "shift": setting.shift,
        "dial": speedup, "method": method, "cost": fmean(each.cost for each in found), **means,
        "worst_frame": min(each["worst_frame"] for each in figures), "each": figures,
    }  # fmt: skip


def head() -> str:
    """The heading of the printed table: of each measure, fewer steps and then the dial."""
    pairs = ("PSNR dB", "worst frame", "flicker", "paths %")
    return f"{'setting':<46} {'dial':>4} {'cost':>5} {'gain':>6} " + " ".join(f"{name:>15}" for name in pairs)


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The printed table's lines."""
    return list(_lines(rows))


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    by_method = {(row["setting"], row["dial"], row["method"]): row for row in rows}
    for setting, speedup in dict.fromkeys((row["setting"], row["dial"]) for row in rows):
        fewer, ours = (by_method[setting, speedup, method] for method in ("fewer", "dial"))
        pairs = [
            f"{fewer['psnr']:7.1f} {ours['psnr']:7.1f}", f"{fewer['worst_frame']:7.1f} {ours['worst_frame']:7.1f}",
            f"{fewer['flicker']:7.4f} {ours['flicker']:7.4f}",
            f"{fewer['path_error'] * 100:7.2f} {ours['path_error'] * 100:7.2f}",
        ]  # fmt: skip
        gain = ours["psnr"] - fewer["psnr"]
        yield f"{setting:<46} {speedup:4g} {ours['cost']:5.2f} {gain:+6.1f} {' '.join(pairs)}"
