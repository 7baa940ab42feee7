"""Studies that replay recorded trajectories (study.py). Loaded as a module of the pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from statistics import mean
from typing import Any

import comfy.samplers
import numpy as np
import torch

from setup import HOST_DIR, ScriptError

from ...frdiff.forecasting import rules as forecast
from ...frdiff.planning import keyframes as search
from ...frdiff.planning import prior
from ...nodes.host.attach import flow_time_of
from .study_runs import CFG, MODELS, PROMPTS, SEED, Demo

RECORDS = HOST_DIR / "study"
STEPS = (20, 28, 50)


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
            flow_time = flow_time_of(demo.demo.model)
            times = [flow_time(float(sigma)) for sigma in sigmas]
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


def replay(times: Sequence[float], d: Any, keys: Sequence[int], weights: Callable[..., Any], history: int) -> Any:
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
    rules = {name: (each.weights, each.history) for name, each in forecast.FORECASTERS.items()}
    lengths = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
    cases = [(*run, gap) for run in recorded() for gap in (2, 3)]
    columns = [f"{name}{steps}/{gap}" for name, steps, _, _, gap in cases]
    print(f"{'dB above linear':<20}", *(f"{column:>10}" for column in columns), f"{'mean':>6}")

    def level(case: Any, weights: Any, history: int) -> float:
        _, steps, times, d, gap = case
        keys = [step for step in range(steps) if step % gap == 0 or step < 3 or step == steps - 1]
        return decibels(replay(times, d, keys, weights, history))

    line = [level(case, *rules["linear"]) for case in cases]
    for name, rule in rules.items():
        for length in lengths if name == "kriging" else (None,):
            if length:
                forecast.CORRELATION_LENGTH = length
            gains = [level(case, *rule) - base for case, base in zip(cases, line, strict=True)]
            label = f"{name} {length:g}" if length else name
            print(f"{label:<20}", *(f"{gain:10.2f}" for gain in gains), f"{np.mean(gains):6.2f}", flush=True)


def keyframes(_: Any) -> None:
    """Keyframes of 1/2 and 1/3 of the steps by cost models of different powers, and evenly spread ones."""
    runs = [(*run, run[1] // part) for run in recorded() for part in (2, 3)]
    print(f"{'level in dB':<20}", *(f"{name}{steps}/{count}".rjust(10) for name, steps, _, _, count in runs), "  mean")

    def levels(choose: Callable[[int, list[float], int], Sequence[int]]) -> list[float]:
        rule = forecast.KRIGING
        return [
            decibels(replay(times, d, choose(steps, times, count), rule.weights, rule.history))
            for _, steps, times, d, count in runs
        ]

    def show(label: str, found: list[float]) -> None:
        print(f"{label:<20}", *(f"{level:10.1f}" for level in found), f"{mean(found):6.2f}", flush=True)

    show("even", levels(lambda steps, times, count: sorted({i * (steps - 1) // (count - 1) for i in range(count)})))
    for power in (2 / 3, 1.0, 4 / 3, 5 / 3, 2.0):
        prior.FORECAST_POWER = power
        show(
            f"power {power:.2f}",
            levels(lambda steps, times, count: search.best_keyframes(
                steps, prior.forecast_cost_model(times), prior.SHORTEST_GAP_CAP)[count - 1]),
        )  # fmt: skip
