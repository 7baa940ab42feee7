"""What the engine itself costs, and the share that it realises of the speed-up that its counts allow.

overhead   seconds with every step full through the engine, over plain seconds, less one
allowed    plain / (plain - avoided), where `avoided` is the network time that the counts save: every skipped
           evaluation a full one's milliseconds, every partial one the difference between a full and a partial one.
           What the host does around the network in each step (guidance, solver, preview) cannot be saved.
counted    the same from the counts alone, as if the network were all of the time
share      realised speed-up / allowed speed-up
noise      plain seconds over plain seconds of a second plain run in the same round, less one: the resolution

Every time is divided by the plain time of its own round; the figures are made of the medians of these ratios over
the rounds, with a bootstrap interval of 95 % over the rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch

from setup.in_process import DemoModel

from .methods import EVERY_STEP, PLAIN, Case, chosen, table
from .timing import Timed, counted_calls, interleaved

PLAIN_AGAIN = "plain again"
PROMPT = "red apple, 3d"
CFG = 3.0
RESAMPLES = 2000
WARM_UP_ROUNDS = 1


def measure(host: Any, presets: Mapping[str, Any], arguments: Any, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row per demo model, step count, sampler and method that has a report."""
    rows = []
    for name in arguments.models:
        demo = DemoModel(host, name)
        latent = torch.zeros(arguments.batch, 4, 16, 16)
        for steps in arguments.steps:
            for sampler in arguments.samplers:
                case = Case(host, presets, demo.model, demo.encode(""), latent, steps, sampler, CFG)
                rounds = _rounds(case, demo.encode(PROMPT), arguments.methods, arguments.rounds)
                rows += [{"model": name, "steps": steps, "sampler": sampler, **row} for row in overhead_rows(rounds)]
                say(f"{name} {steps} {sampler}: {arguments.rounds} rounds")
    return rows


def _rounds(case: Case, positive: Any, patterns: Sequence[str], number: int) -> list[dict[str, Timed]]:
    methods = chosen(table(list(case.presets)), [EVERY_STEP, *patterns])
    runs = {name: method.make(case) for name, method in methods.items()}
    runs[PLAIN_AGAIN] = runs[PLAIN]
    with counted_calls(case.model.model.diffusion_model, lambda: runs[PLAIN](0, positive)) as counter:
        interleaved(runs, [positive], WARM_UP_ROUNDS, counter)
        return interleaved(runs, [positive], number, counter)


def overhead_rows(rounds: Sequence[Mapping[str, Timed]]) -> list[dict[str, Any]]:
    """The figures of every method that reused something."""
    reused = [name for name, run in rounds[0].items() if run.report is not None and name != EVERY_STEP]
    return [_row(rounds, name) for name in reused]


def _row(rounds: Sequence[Mapping[str, Timed]], name: str) -> dict[str, Any]:
    reused = [one[name].report for one in rounds]
    return {
        "method": name,
        "rounds": len(rounds),
        "counts": reused[0].counts,
        "seconds_plain": median(one[PLAIN].seconds for one in rounds),
        "full_ms": median(typical_ms(one[EVERY_STEP].report, "full") for one in rounds),
        "partial_ms": median(typical_ms(report, "partial") for report in reused),
        **intervals([round_ratios(one, name) for one in rounds]),
    }


def round_ratios(one: Mapping[str, Timed], name: str) -> dict[str, float]:
    """What one round says of a method: times over the round's plain time, and the counted speed-up."""
    plain, report = one[PLAIN].seconds, one[name].report
    full_ms = typical_ms(one[EVERY_STEP].report, "full")
    return {
        "every_step": one[EVERY_STEP].seconds / plain,
        "again": one[PLAIN_AGAIN].seconds / plain if PLAIN_AGAIN in one else 1.0,
        "reused": one[name].seconds / plain,
        "avoided": avoided_ms(report, full_ms) / 1000 / plain,
        "counted": counted(report, full_ms),
    }


def figures(ratios: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that medians of the rounds' ratios give; the values are numbers or tensors."""
    return {
        "overhead": ratios["every_step"] - 1,
        "noise": ratios["again"] - 1,
        "counted": ratios["counted"],
        "allowed": 1 / (1 - ratios["avoided"]),
        "realised": 1 / ratios["reused"],
        "share": (1 - ratios["avoided"]) / ratios["reused"],
    }


def medians(ratios: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median over the rounds of each ratio."""
    return {name: median(each[name] for each in ratios) for name in ratios[0]}


def intervals(ratios: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Each figure, and the 95 % interval that it has when the rounds are drawn again with replacement."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(ratios), (RESAMPLES, len(ratios)), generator=generator)
    columns = {name: torch.tensor([each[name] for each in ratios], dtype=torch.float64) for name in ratios[0]}
    again = figures({name: column[drawn].quantile(0.5, dim=1) for name, column in columns.items()})
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return {
        name: dict(zip(("median", "low", "high"), (value, *again[name].quantile(ends).tolist()), strict=True))
        for name, value in figures(medians(ratios)).items()
    }


def typical_ms(report: Any, kind: str) -> float:
    """Median network milliseconds of a report's evaluations of one kind; 0 when there are none."""
    times = [record.ms for record in report.records if record.kind == kind]
    # A run's first evaluation is full, and pays for what is set up once.
    return median((times[1:] if kind == "full" else times) or times or [0.0])


def avoided_ms(report: Any, full_ms: float) -> float:
    """The network milliseconds that the report's counts save of a run with every evaluation full."""
    counts = report.counts
    return counts["skip"] * full_ms + counts["partial"] * (full_ms - typical_ms(report, "partial"))


def counted(report: Any, full_ms: float) -> float:
    """The speed-up of the network alone: evaluations over what they cost in full ones."""
    counts = report.counts
    return sum(counts.values()) / (counts["full"] + counts["partial"] * typical_ms(report, "partial") / full_ms)


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The printed table."""
    head = f"{'run':<26} {'method':<16} {'plain s':>8} {'overhead':>9} {'95 %':>17} {'noise':>8}"
    head += f" {'counted':>8} {'allowed':>8} {'realised':>8} {'share':>6} {'95 %':>13}"
    return [head, *(_line(row) for row in rows)]


def _line(row: Mapping[str, Any]) -> str:
    run = f"{row['model']} {row['steps']} {row['sampler']}"
    overhead, share = row["overhead"], row["share"]
    return (
        f"{run:<26} {row['method']:<16} {row['seconds_plain']:8.3f} {overhead['median']:9.2%} "
        f"{overhead['low']:8.2%}..{overhead['high']:7.2%} {row['noise']['median']:8.2%} "
        f"{row['counted']['median']:7.2f}x {row['allowed']['median']:7.2f}x {row['realised']['median']:7.2f}x "
        f"{share['median']:6.3f} {share['low']:6.3f}..{share['high']:.3f}"
    )
