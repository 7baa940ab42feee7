"""The settings that people use: quality at equal counted cost, on prompts that the models know and that they do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import torch

from bench.methods import Case, core_cache, fewer_steps
from bench.quality import PSNR_LIMIT, psnr
from bench.timing import CallCounter, counted_calls
from bench.usual_settings import EMPTY_LATENTS, KINDS, SETTINGS, Group, Setting, groups
from setup import ScriptError
from setup.in_process import DemoModel

from ...frdiff.forecasting.rules import REUSE
from ...frdiff.planning.presets import for_speedup

# Between these EasyCache's threshold is halved at most so many times, to come near the dial's cost; so near is near
# enough to stop, and the same cost.
THRESHOLDS = (0.02, 1.0)
HALVINGS = 7
NEAR_COST, SAME_COST = 1.02, 1.1


@dataclass(frozen=True)
class Found:
    """A method's pictures of a group: PSNR to the uncached ones, (B), and its cost as a share of theirs."""

    levels: torch.Tensor
    cost: float


def measure(host: Any, presets: Mapping[str, Any], arguments: Any, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row per setting, dial and method."""
    names = arguments.models
    settings = [s for s in SETTINGS if s.model in names and any(fnmatchcase(str(s), p) for p in arguments.rows)]
    if not settings:
        raise ScriptError(f"No setting matches {' '.join(arguments.rows)}. One of them is {SETTINGS[0]!s:}.")
    drawn = groups(arguments.draw, arguments.pairs)
    demos = {name: DemoModel(host, name) for name in {setting.model for setting in settings}}
    rows: list[dict[str, Any]] = []
    say(head())
    for setting in settings:
        found = compare(host, presets, demos[setting.model], setting, drawn, arguments.dials)
        rows += found
        say("\n".join(lines(found)))
    return rows


def compare(
    host: Any, presets: Mapping[str, Any], demo: DemoModel, setting: Setting, drawn: Sequence[Group],
    dials: Sequence[float],
) -> list[dict[str, Any]]:  # fmt: skip
    """The rows of one setting."""
    case = case_of(host, presets, demo, setting)
    network, levels = demo.model.model.diffusion_model, []
    with counted_calls(network, lambda: fewer_steps(1)(case)(0, together(demo, drawn[0].prompts))) as counter:
        for group in drawn:
            levels.append(_levels(case, demo, group, dials, counter))
    kinds = [kind for group in drawn for kind in group.kinds]
    return [
        _row(setting, dial, method, [each[dial][method] for each in levels], [each[dial]["fewer"] for each in levels],
             kinds)
        for dial in dials for method in levels[0][dial]
    ]  # fmt: skip


def case_of(host: Any, presets: Mapping[str, Any], demo: DemoModel, setting: Setting) -> Case:
    """The setting as the other benchmarks have it, with a batch's latent."""
    latent = torch.zeros(1, *EMPTY_LATENTS[setting.model])
    return Case(host, presets, demo.model, demo.encode(""), latent, setting.steps, setting.sampler, setting.cfg,
                setting.scheduler)  # fmt: skip


def _levels(
    case: Case, demo: DemoModel, group: Group, dials: Sequence[float], counter: CallCounter
) -> dict[float, dict[str, Found]]:
    """By dial and method, what a group's pictures are."""
    case = case.of(len(group.prompts))
    positive = together(demo, group.prompts)

    def run(make: Callable[[Case], Any]) -> tuple[torch.Tensor, int]:
        before = counter.calls
        with torch.inference_mode():
            latent = make(case)(group.seed, positive)[0]
            return demo.vae.decode(latent).movedim(-1, 1).nan_to_num(), counter.calls - before

    plain, all_calls = run(fewer_steps(1))

    def found(make: Callable[[Case], Any]) -> Found:
        pictures, calls = run(make)
        return Found(psnr(pictures, plain).clamp(max=PSNR_LIMIT), calls / all_calls)

    easy_cache = cache(lambda threshold: found(core_cache("EasyCache", threshold)))
    return {dial: _at_dial(case, dial, found, easy_cache) for dial in dials}


def _at_dial(
    case: Case, dial: float, found: Callable[[Callable[[Case], Any]], Found], easy_cache: Callable[[float], Found]
) -> dict[str, Found]:
    chosen = for_speedup(dial)
    repeats = replace(chosen.options, forecaster=REUSE, stochastic_forecaster=REUSE, repair=0.0, guarded=False)
    repeating = replace(chosen, options=repeats)
    ours = found(scheduled(chosen))
    # As many steps as can be had for the same calls, or the part of one above.
    fewer = found(fewer_steps(math.ceil(case.steps * ours.cost - 1e-6) / case.steps))
    easy = at_cost(easy_cache, ours.cost)
    return {"fewer": fewer, "repeat": found(scheduled(repeating)), "EasyCache": easy, "dial": ours}


def scheduled(schedule: Any) -> Callable[[Case], Any]:
    """FRDiff KSampler with a schedule of our own."""

    def make(case: Case) -> Callable[[int, Any], Any]:
        node, latent = case.host.NODE_CLASS_MAPPINGS["FRDiffKSampler"], {"samples": case.latent}
        settings = (case.steps, case.cfg, case.sampler, case.scheduler)

        def run(seed: int, positive: Any) -> tuple[torch.Tensor, Any]:
            made = node.execute(case.model, seed, *settings, positive, case.negative, latent, schedule=schedule)
            return made.result[0]["samples"], made.result[1]

        return run

    return make


def at_cost(swept: Callable[[float], Found], cost: float) -> Found:
    """Of a method whose cost falls with its threshold the run that comes nearest to a cost.

    Nothing is interpolated: a run in which nothing is skipped has no error, whatever comes next to it.
    """
    low, high = THRESHOLDS
    tried = [swept(low), swept(high)]
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        tried.append(swept(middle))
        if cost / NEAR_COST <= tried[-1].cost <= cost * NEAR_COST:
            break
        if tried[-1].cost > cost:
            low = middle
        else:
            high = middle
    return min(tried, key=lambda each: abs(each.cost - cost))


def together(demo: DemoModel, prompts: Sequence[str]) -> Any:
    """One CONDITIONING whose batch has a prompt for each picture."""
    encoded = [demo.encode(text)[0] for text in prompts]
    extra = {
        name: torch.cat([each[name] for _, each in encoded]) if isinstance(value, torch.Tensor) else value
        for name, value in encoded[0][1].items()
    }
    return [[torch.cat([context for context, _ in encoded]), extra]]


def _row(
    setting: Setting, dial: float, method: str, found: Sequence[Found], fewer: Sequence[Found], kinds: Sequence[str]
) -> dict[str, Any]:
    levels, others = (torch.cat([each.levels for each in side]) for side in (found, fewer))
    worst = levels.sort().values[: max(len(levels) // 10, 1)]
    by_kind = {kind: levels[[own == kind for own in kinds]].mean().item() for kind in sorted(set(kinds))}
    return {
        "setting": str(setting), **asdict(setting), "dial": dial, "method": method, "family": method,
        "cost": sum(each.cost for each in found) / len(found), "psnr": levels.mean().item(),
        "worst_decile": worst.mean().item(), "better": (levels > others).double().mean().item(), **by_kind,
        "psnr_each": levels.tolist(),
    }  # fmt: skip


def head() -> str:
    """The heading of the printed table: mean PSNR in dB of each method, then of the dial's pictures alone."""
    return (
        f"{'setting':<44} {'dial':>4} {'cost':>5} {'fewer':>6} {'repeat':>6} {'EasyC.':>6} {'dial':>6} "
        f"{'gain':>6} {'worst':>6} {'better':>6} {'by kind: gain over fewer steps'}"
    )


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The printed table's lines: `gain` is over the best of the others, `better` the share better than fewer steps.

    EasyCache cannot be had at every cost. Where it costs more than the dial it is in no gain, and in brackets.
    """
    return list(_lines(rows))


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    places = {(row["setting"], row["dial"]): None for row in rows}
    by_method = {(row["setting"], row["dial"], row["method"]): row for row in rows}
    for place in places:
        fewer, repeat, easy, ours = (by_method[(*place, name)] for name in ("fewer", "repeat", "EasyCache", "dial"))
        comparable = easy["cost"] <= SAME_COST * ours["cost"]
        gain = ours["psnr"] - max(other["psnr"] for other in (fewer, repeat, *([easy] if comparable else [])))
        easy_psnr = f"{easy['psnr']:.1f}" if comparable else f"({easy['psnr']:.1f})"
        kinds = " ".join(f"{kind} {ours[kind] - fewer[kind]:+5.1f}" for kind in KINDS if kind in ours)
        yield (
            f"{place[0]:<44} {place[1]:4g} {ours['cost']:5.2f} {fewer['psnr']:6.1f} {repeat['psnr']:6.1f} "
            f"{easy_psnr:>6} {ours['psnr']:6.1f} {gain:+6.1f} {ours['worst_decile']:6.1f} {ours['better']:6.0%} "
            f"{kinds}"
        )
