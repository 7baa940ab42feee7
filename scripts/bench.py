"""Measure the engine on the demo models: its overhead, and the speed-up it realises of what its counts allow.

    python scripts/bench.py --json bench.json

Plain, every-step-full and `paper M=2` runs are interleaved in one process with the same seeds. `overhead` is
the median of the pairs' time ratios less one. `allowed` is the speed-up that the counted steps allow at the
measured cost of a partial step; `realised` is the measured one, and `share` their ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from host import ROOT, SetupError, add_comfyui_argument, ensure_host

INSIDE = "FRDIFF_BENCH_INSIDE"
MODELS = ("unet", "dit")


def main() -> int:
    """Command line: set up, run inside the host's Python, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_comfyui_argument(parser)
    parser.add_argument("--steps", type=int, default=50, help="solver steps of a run")
    parser.add_argument("--pairs", type=int, default=12, help="interleaved rounds")
    parser.add_argument("--batch", type=int, default=1, help="pictures in a run")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    if os.environ.get(INSIDE):
        return _inside(arguments)
    try:
        host = ensure_host(arguments.comfyui)
    except SetupError as error:
        print(f"Set-up stopped: {error}", file=sys.stderr)
        return 1
    environment = {**host.environment(), INSIDE: "1"}
    return subprocess.run(host.command(str(Path(__file__).resolve()), *sys.argv[1:]), env=environment).returncode


def _inside(arguments: argparse.Namespace) -> int:
    nodes = _load_nodes()
    rows = [_measure(nodes, model, arguments) for model in MODELS]
    print(f"{'model':<6} {'plain s':>8} {'overhead':>9} {'partial':>8} {'allowed':>8} {'realised':>9} {'share':>6}")
    for row in rows:
        print(
            f"{row['model']:<6} {row['seconds_plain']:8.3f} {row['overhead']:9.2%} {row['partial_cost']:8.3f} "
            f"{row['allowed']:7.2f}x {row['realised']:8.2f}x {row['share']:6.3f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    return 0


def _load_nodes() -> dict[str, Any]:
    """ComfyUI's node classes, with the pack's and the demo models', in this process."""
    sys.path.remove(str(Path(__file__).resolve().parent))  # its server.py is not ComfyUI's
    import comfy.cli_args
    import torch

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    import comfy.utils

    import nodes

    comfy.utils.PROGRESS_BAR_ENABLED = False
    for name, folder in (("frdiff", ROOT), ("frdiff_demo", ROOT / "scripts" / "demo_pack")):
        asyncio.run(nodes.load_custom_node(str(folder), module_parent=name))
    return nodes.NODE_CLASS_MAPPINGS


def _measure(nodes: dict[str, Any], name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row: medians over interleaved rounds of plain, every step full, and paper M=2."""
    import torch

    model, clip, _ = nodes["FRDiffDemoModelLoader"].execute(name).result
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("red apple, 3d", ""))
    latent = {"samples": torch.zeros(arguments.batch, 4, 16, 16)}
    schedules = {
        preset: nodes["FRDiffSchedule"].execute(preset, 2, True, 1, 0, 4096.0).result[0]
        for preset in ("every step computed", "paper M=2")
    }

    def run(seed: int, preset: str | None) -> tuple[float, Any]:
        schedule = schedules[preset] if preset else None
        common = (seed, arguments.steps, 3.0, "euler", "normal", positive, negative, latent, 1.0)
        started = time.perf_counter()
        with torch.inference_mode():
            report = nodes["FRDiffKSampler"].execute(model, *common, 1.0, schedule).result[1]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started, report

    for preset in (None, "paper M=2"):  # to warm up
        run(0, preset)
    presets = [None, *schedules]
    # The order turns from round to round, so that no method always runs after the same other one.
    orders = [presets[seed % 3 :] + presets[: seed % 3] for seed in range(arguments.pairs)]
    rounds = [{preset: run(seed, preset) for preset in order} for seed, order in enumerate(orders)]
    return {"model": name, "steps": arguments.steps, **_figures(rounds)}


def _figures(rounds: list[dict[str | None, tuple[float, Any]]]) -> dict[str, float]:
    reports = [each["paper M=2"][1] for each in rounds]
    counts = reports[0].counts
    times = {kind: median(r.ms for report in reports for r in report.records if r.kind == kind) for kind in counts}
    partial_cost = times["partial"] / times["full"]
    allowed = sum(counts.values()) / (counts["full"] + partial_cost * counts["partial"])
    realised = median(each[None][0] / each["paper M=2"][0] for each in rounds)
    return {
        "seconds_plain": median(each[None][0] for each in rounds),
        "overhead": median(each["every step computed"][0] / each[None][0] for each in rounds) - 1,
        "partial_cost": partial_cost,
        "allowed": allowed,
        "realised": realised,
        "share": realised / allowed,
    }


if __name__ == "__main__":
    sys.exit(main())
