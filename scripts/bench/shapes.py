"""Networks of true size with random weights: they say nothing about quality and everything about time and memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch

from .methods import EVERY_STEP, PLAIN, Case, chosen, table
from .networks import SHAPES, build, conditioning
from .overhead import figures, medians, round_ratios, typical_ms
from .timing import Timed, counted_calls, interleaved, relative_time

MEGABYTE = 1e6


def measure(host: Any, presets: Mapping[str, Any], arguments: Any, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row per step count, sampler and method."""
    shape = SHAPES[arguments.shape]
    methods = chosen(table(list(presets)), [EVERY_STEP, *arguments.methods])
    model = build(shape)
    positive, negative = (conditioning(shape, seed) for seed in (1, 2))
    latent = torch.zeros(arguments.batch, *shape.latent[1:])
    rows: list[dict[str, Any]] = []
    for steps in arguments.steps:
        for sampler in arguments.samplers:
            case = Case(host, presets, model, negative, latent, steps, sampler, shape.cfg, shape.scheduler)
            runs = {name: method.make(case) for name, method in methods.items()}
            network = model.model.diffusion_model
            with counted_calls(network, lambda runs=runs: runs[PLAIN](0, positive)) as counter:
                interleaved(runs, [positive], 1, counter)  # to warm up
                rounds = interleaved(runs, [positive], arguments.rounds, counter)
            found = shape_rows(rounds, arguments.batch)
            rows += [{"model": arguments.shape, "steps": steps, "sampler": sampler, **row} for row in found]
            say(f"{arguments.shape} {steps} {sampler}: {arguments.rounds} rounds")
    return rows


def shape_rows(rounds: Sequence[Mapping[str, Timed]], batch: int) -> list[dict[str, Any]]:
    """Time and memory of every method; the engine's own limit where there is a report."""
    return [_row(rounds, name, batch) for name in rounds[0]]


def _row(rounds: Sequence[Mapping[str, Timed]], name: str, batch: int) -> dict[str, Any]:
    relative = relative_time(rounds, name)
    return {
        "method": name,
        "seconds": median(one[name].seconds for one in rounds),
        "seconds_per_picture": median(one[name].seconds for one in rounds) / batch,
        "relative_time": relative,
        "speedup": 1 / relative,
        "network_calls": median(one[name].calls for one in rounds),
        "peak_mb": _peak_mb(rounds, name),
        "peak_mb_above_plain": _above(_peak_mb(rounds, name), _peak_mb(rounds, PLAIN)),
        **_limits(rounds, name),
    }


LIMITS = ("overhead", "counted", "allowed", "share")


def _limits(rounds: Sequence[Mapping[str, Timed]], name: str) -> dict[str, float | None]:
    if rounds[0][name].report is None:
        return dict.fromkeys(("full_ms", "partial_ms", *LIMITS))
    found = figures(medians([round_ratios(one, name) for one in rounds]))
    return {
        "full_ms": median(typical_ms(one[EVERY_STEP].report, "full") for one in rounds),
        "partial_ms": median(typical_ms(one[name].report, "partial") for one in rounds),
        **{limit: found[limit] for limit in LIMITS},
    }


def _peak_mb(rounds: Sequence[Mapping[str, Timed]], name: str) -> float | None:
    peaks = [one[name].peak_bytes for one in rounds]
    known = [peak for peak in peaks if peak is not None]
    return max(known) / MEGABYTE if known else None


def _above(value: float | None, plain: float | None) -> float | None:
    return None if value is None or plain is None else value - plain


COLUMNS = {
    "speedup": "{:.2f}x",
    "overhead": "{:.2%}",
    "allowed": "{:.2f}x",
    "share": "{:.3f}",
    "full_ms": "{:.1f}",
    "partial_ms": "{:.1f}",
    "network_calls": "{:g}",
    "peak_mb_above_plain": "{:.0f}",
}


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The printed table."""
    head = f"{'run':<22} {'method':<20} {'s/picture':>10}" + "".join(f"{name:>20}" for name in COLUMNS)
    return [head, *(_line(row) for row in rows)]


def _line(row: Mapping[str, Any]) -> str:
    run = f"{row['model']} {row['steps']} {row['sampler']}"
    cells = ("-" if row[name] is None else layout.format(row[name]) for name, layout in COLUMNS.items())
    figures = "".join(f"{cell:>20}" for cell in cells)
    return f"{run:<22} {row['method']:<20} {row['seconds_per_picture']:10.3f}{figures}"
