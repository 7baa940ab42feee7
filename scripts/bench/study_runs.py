"""Studies that sample for real, with schedules of their own (study.py). Loaded as a module of the pack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import comfy.samplers
import torch

from setup.in_process import DemoModel

from ...frdiff.forecasting.rules import FORECASTERS, KRIGING
from ...frdiff.planning.plan import Plan, StepKind
from ...frdiff.planning.prior import PriorSchedule
from ...frdiff.planning.run import SamplingRun
from ...frdiff.planning.schedule import RunOptions, Schedule
from ...frdiff.reporting.metrics import psnr
from ...nodes.host.noise_levels import noise_levels_of

MODELS = ("unet", "dit")
PROMPTS = (
    "pizza, 3d", "cat face, 3d", "unicorn, 3d", "green apple, twitter", "rocket, google", "red heart, 3d",
    "dog face, google", "sun with face, 3d",
)  # fmt: skip
SEED, CFG = 900, 3.0
# CFG++ samplers are made for a low one.
CFG_OF_CFG_PP = 1.0
SPEEDUPS = (2, 3)
NOISY = ("euler_ancestral", "dpmpp_2m_sde", "dpmpp_3m_sde", "er_sde", "lcm")
# About what a partial step of the UNet costs of a full one, and of the DiT.
PARTIAL_COST = {"unet": 0.31, "dit": 0.10}


class Demo:
    """A demo model with all prompts in one batch."""

    def __init__(self, host: Any, name: str) -> None:
        self.host = host
        self.demo = DemoModel(self.host, name)
        encoded = [self.demo.encode(text)[0] for text in PROMPTS]
        both = {
            key: torch.cat([extra[key] for _, extra in encoded]) if isinstance(value, torch.Tensor) else value
            for key, value in encoded[0][1].items()
        }
        self.positive = [[torch.cat([cross for cross, _ in encoded]), both]]

    def run(self, steps: int, sampler: str = "euler", schedule: Any = None) -> Any:
        """The latents of a run, as (prompts, 16, 16, 16)."""
        return self.reported(steps, sampler, schedule)[0]

    def reported(self, steps: int, sampler: str, schedule: Any = None) -> tuple[Any, Any]:
        """The latents of a run, and its report."""
        latent = {"samples": torch.zeros(len(PROMPTS), 4, 16, 16)}
        node = self.host.NODE_CLASS_MAPPINGS["FRDiffKSampler"]
        with torch.inference_mode():
            made, report = node.execute(
                self.demo.model, SEED, steps, CFG_OF_CFG_PP if "cfg_pp" in sampler else CFG, sampler, "normal",
                self.positive, self.demo.encode(""), latent, 1.0, 1.0, schedule,
            ).result  # fmt: skip
        return made["samples"], report

    def decode(self, latents: Any) -> Any:
        """Pictures in 0..1."""
        return self.demo.vae.decode(latents).clamp(0, 1)

    def psnr(self, latents: Any, plain: Any) -> float:
        """Mean over the prompts, in dB."""
        return psnr(self.decode(latents), self.decode(plain))


def partial(host: Any) -> None:
    """PSNR of runs in which all steps but one are full, for each place of the partial one."""
    _each_place(host, StepKind.PARTIAL)


def one(host: Any) -> None:
    """PSNR of runs in which all steps but one are full, for each place of the skipped one."""
    _each_place(host, StepKind.SKIP)


def repair(host: Any) -> None:
    """PSNR of the dial's schedule with repairs of different strengths."""
    for name in MODELS:
        demo = Demo(host, name)
        for sampler, steps in product(("euler", "dpmpp_2m"), (20, 28, 50)):
            plain = demo.run(steps, sampler)
            for speedup in SPEEDUPS:
                dial = PriorSchedule("study", speedup=speedup)
                runs = [demo.run(steps, sampler, with_options(dial, repair=part)) for part in (0.0, 0.5, 0.75, 1.0)]
                found = [demo.psnr(run, plain) for run in runs]
                print(f"{name:<5} {sampler:<9} {steps} {speedup}x", *(f"{level:6.1f}" for level in found), flush=True)


def noise(host: Any) -> None:
    """PSNR where noise is added: fewer steps, partial steps, raw outputs forecast, denoised latents by each rule."""
    rules = ("reuse", "damped linear", "cautious", "kriging")
    print(f"{'28 steps':<26}", *(f"{each:>14}" for each in ("fewer", "partial", "raw", *rules)))
    for name in MODELS:
        demo = Demo(host, name)
        for sampler, speedup in product(NOISY, SPEEDUPS):
            plain, dial = demo.run(28, sampler), PriorSchedule("study", speedup=speedup)
            runs = [demo.run(round(28 / speedup), sampler)]
            share = (1 / speedup - PARTIAL_COST[name]) / (1 - PARTIAL_COST[name])
            every = [int(step * share) != int((step - 1) * share) or step == 0 for step in range(28)]
            kinds = [StepKind.FULL if full else StepKind.PARTIAL for full in every]
            runs.append(demo.run(28, sampler, _listed(kinds)))
            runs.append(demo.run(28, sampler, Raw("raw", RunOptions(forecaster=KRIGING), speedup)))
            dials = [with_options(dial, stochastic_forecaster=FORECASTERS[rule]) for rule in rules]
            runs += [demo.run(28, sampler, each) for each in dials]
            found = [demo.psnr(run, plain) for run in runs]
            print(f"{name:<5} {sampler:<16} {speedup}x ", *(f"{level:14.1f}" for level in found), flush=True)


def boundary(host: Any) -> None:
    """Error of forecasts of the output, and of the last layer's input with the layer computed, in dB; true runs."""
    print(f"{'euler':<16} {'output':>8} {'hidden':>8} {'gain':>6}")
    for name, steps in product(MODELS, (20, 50)):
        demo = Demo(host, name)
        layer, calls = _last_layer(demo.demo.model.model.diffusion_model), []
        handle = layer.register_forward_hook(lambda _, given, output, calls=calls: calls.append((given, output)))
        try:
            demo.run(steps)
        finally:
            handle.remove()
        level_of = noise_levels_of(demo.demo.model)
        times = [level_of(sigma).time for sigma in _sigmas(demo, steps)]
        for gap in (2, 3):
            errors: list[list[float]] = [[], []]
            for step in (s for s in range(3, steps - 1) if s % gap):
                known = [s for s in range(step) if s % gap == 0 or s < 3][-KRIGING.history :]
                weights = KRIGING.weights(times[step], [times[s] for s in known])
                output, hidden = (sum(w * calls[s][part] if part else w * calls[s][0][0] for w, s in
                                      zip(weights, known, strict=True)) for part in (1, 0))  # fmt: skip
                given, truth = calls[step]
                with torch.inference_mode():
                    answers = (output, layer(hidden, *given[1:]))
                for found, answer in zip(errors, answers, strict=True):
                    found.append(float(20 * ((answer - truth).norm() / truth.norm()).log10()))
            first, second = (sum(found) / len(found) for found in errors)
            print(f"{name:<5} {steps:>3} gap {gap} {-first:8.1f} {-second:8.1f} {first - second:6.1f}", flush=True)


def _last_layer(network: Any) -> Any:
    return network.final_layer if hasattr(network, "final_layer") else network.out


def _sigmas(demo: Demo, steps: int) -> list[float]:
    sampling = demo.demo.model.get_model_object("model_sampling")
    return [float(sigma) for sigma in comfy.samplers.calculate_sigmas(sampling, "normal", steps)[:-1]]


def samplers(host: Any) -> None:
    """PSNR of the dial and of as many plain steps with every sampler of the host, and what the dial gains."""
    print(f"{'20 steps':<42} {'dial':>7} {'fewer':>7} {'gain':>7}")
    for name, sampler in product(MODELS, comfy.samplers.KSampler.SAMPLERS):
        demo = Demo(host, name)
        plain = demo.run(20, sampler)
        for speedup in SPEEDUPS:
            latent, report = demo.reported(20, sampler, PriorSchedule("study", speedup=speedup))
            counts = report.counts
            if not counts["skip"]:
                continue
            fewer = demo.run(math.ceil(20 * counts["full"] / sum(counts.values())), sampler)
            found = [demo.psnr(latent, plain), demo.psnr(fewer, plain)]
            print(f"{name:<5} {sampler:<32} {speedup}x", *(f"{level:7.1f}" for level in [*found, found[0] - found[1]]),
                  flush=True)  # fmt: skip


def _each_place(host: Any, kind: StepKind) -> None:
    """One line for each model and sampler; infinite where the result equals the full one."""
    for name, sampler in product(MODELS, NOISY[:2] if kind is StepKind.PARTIAL else NOISY):
        demo, found = Demo(host, name), []
        plain = demo.run(28, sampler)
        for place in range(1, 28):
            kinds = [kind if step == place else StepKind.FULL for step in range(28)]
            found.append(demo.psnr(demo.run(28, sampler, _listed(kinds)), plain))
        print(f"{name:<5} {sampler:<16}", *(f"{level:5.1f}" for level in found), flush=True)


@dataclass(frozen=True)
class Listed(Schedule):
    """A schedule whose kinds are given."""

    kinds: tuple[StepKind, ...] = ()

    def plan(self, run: SamplingRun) -> Plan:
        return Plan.of(self.kinds)


@dataclass(frozen=True)
class Raw(Schedule):
    """The dial's keyframes for a sampler that adds noise, with raw outputs between them."""

    speedup: float = 2.0

    def plan(self, run: SamplingRun) -> Plan:
        return PriorSchedule("study", speedup=self.speedup).plan(replace(run, stochastic=True))


def with_options(schedule: Schedule, **options: Any) -> Schedule:
    """The same schedule with other options."""
    return replace(schedule, options=replace(schedule.options, **options))


def _listed(kinds: Sequence[StepKind]) -> Schedule:
    return Listed("listed", RunOptions(adapts=True, inner=True), tuple(kinds))
