"""Studies that replay recorded trajectories (study.py). Loaded as a module of the pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from statistics import mean
from typing import Any

import comfy.samplers
import torch

from setup import HOST_DIR, ScriptError

from ...frdiff.forecasting.kriging import Kriging
from ...frdiff.forecasting.rules import FORECASTERS, KRIGING, KRIGING_MODEL, Weights
from ...frdiff.planning.keyframes import SegmentCost, best_keyframes
from ...frdiff.planning.prior import SHORTEST_GAP_CAP
from ...nodes.host.noise_levels import noise_levels_of
from .study_runs import CFG, MODELS, PROMPTS, SEED, Demo

RECORDS = HOST_DIR / "study"
STEPS = (20, 28, 50)
LENGTHS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)


def record(host: Any) -> None:
    """Run every model and step count once, and keep the derivative d = (x - denoised) / sigma of each step."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        demo = Demo(host, name)
        for steps in STEPS:
            guider = comfy.samplers.CFGGuider(demo.demo.model)
            guider.set_conds(demo.positive, demo.demo.encode(""))
            guider.set_cfg(CFG)
            sigmas = comfy.samplers.calculate_sigmas(
                demo.demo.model.get_model_object("model_sampling"), "normal", steps
            )
            kept: list[Any] = []
            sampler = comfy.samplers.KSAMPLER(_recording_euler(kept))
            noise = torch.randn(len(PROMPTS), 16, 16, 16, generator=torch.Generator().manual_seed(SEED))
            with torch.inference_mode():
                guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=SEED)
            level_of = noise_levels_of(demo.demo.model)
            times = [level_of(float(sigma)).time for sigma in sigmas]
            torch.save({"times": times, "d": torch.stack(kept)}, RECORDS / f"{name}-{steps}.pt")
            print(f"{name}, {steps} steps: recorded")


def _recording_euler(kept: list[Any]) -> Callable[..., Any]:
    def sample(model: Any, x: Any, sigmas: Any, extra_args: dict[str, Any], **_: Any) -> Any:
        for sigma, following in zip(sigmas, sigmas[1:], strict=False):
            d = (x - model(x, sigma * x.new_ones([len(x)]), **extra_args)) / sigma
            kept.append(d.clone())
            x = x + d * (following - sigma)
        return x

    return sample


def recorded() -> Iterator[tuple[str, int, list[float], Any]]:
    """Model, steps, flow times and derivatives (steps, prompts, elements) of each recorded run."""
    for name, steps in product(MODELS, STEPS):
        path = RECORDS / f"{name}-{steps}.pt"
        if not path.is_file():
            raise ScriptError("There are no trajectories yet. Run python scripts/study.py record first.")
        data = torch.load(path)
        yield name, steps, data["times"], data["d"].flatten(2)


def replay(times: Sequence[float], d: Any, keys: Sequence[int], weights: Weights, history: int) -> Any:
    """The summed error `(t - t') (forecast - truth)` of a run that computes `keys` and forecasts the rest."""
    error = d[0] * 0
    for step in sorted(set(range(len(d))) - set(keys)):
        known = [key for key in keys if key < step][-history:]
        forecast = sum(
            weight * d[key] for weight, key in zip(weights(times[step], [times[k] for k in known]), known, strict=True)
        )
        error = error + (forecast - d[step]) * (times[step] - times[step + 1])
    return error


def decibels(error: Any) -> float:
    """Mean over the prompts of the error's root mean square, as a level: more is better."""
    return float((-20 * error.square().mean(dim=1).sqrt().log10()).mean())


def forecasts(_: Any) -> None:
    """Each forecast with a keyframe every 2 and every 3 steps, the first three and the last step computed."""
    rules = {name: (each.weights, each.history) for name, each in FORECASTERS.items() if each is not KRIGING}
    rules |= {f"kriging {length:g}": (Kriging(length).weights, KRIGING.history) for length in LENGTHS}
    cases = [(*run, gap) for run in recorded() for gap in (2, 3)]
    columns = [f"{name}{steps}/{gap}" for name, steps, _, _, gap in cases]
    print(f"{'dB above linear':<20}", *(f"{column:>10}" for column in columns), f"{'mean':>6}")

    def level(case: Any, weights: Weights, history: int) -> float:
        _, steps, times, d, gap = case
        keys = [step for step in range(steps) if step % gap == 0 or step < 3 or step == steps - 1]
        return decibels(replay(times, d, keys, weights, history))

    line = [level(case, *rules["linear"]) for case in cases]
    for name, rule in rules.items():
        gains = [level(case, *rule) - base for case, base in zip(cases, line, strict=True)]
        print(f"{name:<20}", *(f"{gain:10.2f}" for gain in gains), f"{mean(gains):6.2f}", flush=True)


def keyframes(_: Any) -> None:
    """Keyframes of 1/2 and 1/3 of the steps by cost models of different powers, and evenly spread ones."""
    runs = [(*run, run[1] // part) for run in recorded() for part in (2, 3)]
    print(f"{'level in dB':<20}", *(f"{name}{steps}/{count}".rjust(10) for name, steps, _, _, count in runs), "  mean")

    def show(label: str, choose: Callable[[int, list[float], int], Sequence[int]]) -> None:
        found = [
            decibels(replay(times, d, choose(steps, times, count), KRIGING.weights, KRIGING.history))
            for _, steps, times, d, count in runs
        ]
        print(f"{label:<20}", *(f"{level:10.1f}" for level in found), f"{mean(found):6.2f}", flush=True)

    show("even", lambda steps, _, count: sorted({i * (steps - 1) // (count - 1) for i in range(count)}))
    for power in (2 / 3, 1.0, 4 / 3, 5 / 3, 2.0):
        show(
            f"power {power:.2f}",
            lambda steps, times, count, power=power: best_keyframes(
                steps, cost_of_power(times, power), SHORTEST_GAP_CAP
            )[count - 1],
        )


def cost_of_power(times: Sequence[float], power: float) -> SegmentCost:
    """The dial's cost model (prior.raw_cost_model) of an Euler run, with a power of the expected deviation."""

    @cache
    def step_cost(before: int, last: int, step: int) -> float:
        known = [times[last]] if before == last else [times[before], times[last]]
        return abs(times[step] - times[step + 1]) * KRIGING_MODEL.deviation(times[step], known) ** power

    return lambda before, last, following: sum(step_cost(before, last, step) for step in range(last + 1, following))
