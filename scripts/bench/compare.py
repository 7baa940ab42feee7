"""The comparison on the demo models: every method beside the uncached run of the same seed, sampler and steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from statistics import mean, median
from typing import Any

import torch

from demo.training_data import STYLES, favoured_names
from setup.in_process import DemoModel

from .methods import PLAIN, Case, Method, chosen, table
from .quality import measures, set_distances
from .timing import CallCounter, Run, Timed, counted_calls, interleaved, relative_time, timed, work_per_call

CFG = 3.0
# Far from the seeds of the compared runs, which count from 0.
OTHER_SEEDS = 1_000_000


def measure(host: Any, presets: Mapping[str, Any], arguments: Any, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row per demo model, step count, sampler and method."""
    methods = chosen(table(list(presets)), arguments.methods)
    rows: list[dict[str, Any]] = []
    for name in arguments.models:
        demo = DemoModel(host, name)
        positives = [demo.encode(text) for text in prompts(arguments.prompts)]
        latent = torch.zeros(arguments.batch, 4, 16, 16)
        for steps, sampler in product(arguments.steps, arguments.samplers):
            case = Case(host, presets, demo.model, demo.encode(""), latent, steps, sampler, CFG)
            found = compare(case, methods, positives, demo.vae.decode)
            rows += [{"model": name, "steps": steps, "sampler": sampler, **row} for row in found]
            say("\n".join([f"\n{name}, {steps} steps, {sampler}", *lines(found)]))
    return rows


def prompts(number: int) -> list[str]:
    """Names that the demo models were trained on most, evenly taken from all of them, in turning styles."""
    names, styles = sorted(favoured_names()), list(STYLES)
    chosen_names = [names[i * len(names) // number % len(names)] for i in range(number)]
    return [f"{name}, {styles[i % len(styles)]}" for i, name in enumerate(chosen_names)]


def compare(
    case: Case,
    methods: Mapping[str, Method],
    positives: Sequence[Any],
    decode: Callable[[torch.Tensor], torch.Tensor],
) -> list[dict[str, Any]]:
    """The rows of one case: a round per prompt, in which every method runs with the same seed."""
    runs = {name: method.make(case) for name, method in methods.items()}
    with counted_calls(case.model.model.diffusion_model, lambda: runs[PLAIN](0, positives[0])) as counter:
        work = _work(runs, positives[0], counter)
        rounds = interleaved(runs, positives, len(positives), counter)
        others = [timed(runs[PLAIN], OTHER_SEEDS + i, each, counter).latent for i, each in enumerate(positives)]
    latents = {name: torch.cat([each[name].latent for each in rounds]) for name in runs}
    pictures = {name: _pictures(decode, found) for name, found in latents.items()}
    distances, floor = set_distances(pictures, pictures[PLAIN], _pictures(decode, torch.cat(others)))
    return [
        {
            "method": name,
            "family": method.family,
            **_cost(rounds, name, work),
            **measures(latents[name], pictures[name], latents[PLAIN], pictures[PLAIN]),
            "set_distance": distances[name],
            "set_distance_floor": floor,
        }
        for name, method in methods.items()
    ]


def _work(runs: Mapping[str, Run], positive: Any, counter: CallCounter) -> dict[str, float]:
    """Mean work of a method's computed network calls, in full calls. It also warms every method up."""
    operations = {name: work_per_call(lambda run=run: run(0, positive), counter) for name, run in runs.items()}
    return {name: value / operations[PLAIN] for name, value in operations.items()}


def _cost(rounds: Sequence[Mapping[str, Timed]], name: str, work: Mapping[str, float]) -> dict[str, Any]:
    relative = relative_time(rounds, name)
    return {
        "seconds": median(each[name].seconds for each in rounds),
        "seconds_each": [each[name].seconds for each in rounds],
        "relative_time": relative,
        "speedup": 1 / relative,
        "evaluations": mean(each[name].calls for each in rounds) * work[name],
        "network_calls": mean(each[name].calls for each in rounds),
    }


def _pictures(decode: Callable[[torch.Tensor], torch.Tensor], latents: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, H, W) in 0..1 of latents, black where a run left no number; the host gives (B, H, W, 3)."""
    return decode(latents).movedim(-1, 1).float().cpu().nan_to_num()


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The printed table of one case."""
    head = f"{'method':<20} {'seconds':>8} {'speedup':>8} {'evals':>6} {'PSNR dB':>8} {'SSIM':>7} {'latent':>8}"
    return [f"{head} {'edges':>7} {'set':>7} {'floor':>7}", *(_line(row) for row in rows)]


def _line(row: Mapping[str, Any]) -> str:
    psnr = "equal" if row["psnr"] is None else f"{row['psnr']:.2f}"
    return (
        f"{row['method']:<20} {row['seconds']:8.3f} {row['speedup']:7.2f}x {row['evaluations']:6.1f} {psnr:>8} "
        f"{row['ssim']:7.4f} {row['latent_l2']:8.4f} {row['edge_error']:7.4f} "
        f"{row['set_distance']:7.4f} {row['set_distance_floor']:7.4f}"
    )
