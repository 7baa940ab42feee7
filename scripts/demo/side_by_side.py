"""The demo: the same pictures plain and with FRDiff in a real ComfyUI, and how long each took.

For each demo model the graphs in `graphs` run in pairs, plain then FRDiff, with the same seed. Before each
pair a run of one step loads the model and the text, so that what is timed is sampling, decoding and saving.
Seconds are medians over the pairs; the speedup is the median of the pairs' own ratios, because a pair's two
runs meet the same load.
"""

from __future__ import annotations

import copy
import json
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setup import ROOT
from setup.host import Host
from setup.installing import Say
from setup.server import Client, ServerError, comfyui, prompt_seconds

GRAPHS = Path(__file__).resolve().parent / "graphs"
PICTURES = Path(__file__).resolve().parent / "pictures.py"
OUTPUT = ROOT / "output" / "demo"
MODELS = ("unet", "dit")
PROMPTS = ("grinning face, 3d", "red apple, 3d", "dog face, 3d", "rocket, 3d")
RUNS = PROMPTS * 2
FIRST_SEED = 1
WARM_UP_SEED = 1000
COLUMNS = ("model", "steps", "full", "partial", "skip", "seconds_plain", "seconds_frdiff", "speedup", "psnr", "ssim")


@dataclass(frozen=True)
class Pair:
    """The same prompt and seed run plain and with FRDiff: seconds, and FRDiff's own report."""

    seconds_plain: float
    seconds_frdiff: float
    report: dict[str, Any]

    @property
    def speedup(self) -> float:
        return self.seconds_plain / self.seconds_frdiff


def run_demo(host: Host, cpu: bool, serve: bool, say: Say) -> dict[str, Any]:
    """Run both demo models in ComfyUI, write output/demo and return the report."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    say(f"Starting ComfyUI on the {'CPU' if cpu else 'GPU'} ...")
    with comfyui(host, cpu) as client:
        _check_nodes(client)
        pairs = {model: measure(client, model, say) for model in MODELS}
        report = write_report(host, pairs)
        say(table(report))
        say(f"Pictures, sheet.png and report.json are in {OUTPUT.relative_to(ROOT)}.")
        if serve:
            _serve(client, say)
    return report


def measure(client: Client, model: str, say: Say) -> list[Pair]:
    """One pair to warm up, which is not counted, then two pairs per prompt; saves the pictures."""
    say(f"{model}: warming up ...")
    _pair(client, model, PROMPTS[0], WARM_UP_SEED)
    pairs = []
    for number, prompt in enumerate(RUNS):
        pair = _pair(client, model, prompt, FIRST_SEED + number, OUTPUT / f"{model}_{number + 1}")
        pairs.append(pair)
        say(f"{model}: {prompt:<20} plain {pair.seconds_plain:.2f} s   FRDiff {pair.seconds_frdiff:.2f} s")
    return pairs


def write_report(host: Host, pairs: dict[str, list[Pair]]) -> dict[str, Any]:
    """Compare the pictures, write sheet.png and report.json, and return the report."""
    layout = {"models": list(pairs), "prompts": list(RUNS), "shown": len(PROMPTS)}
    command = host.command(str(PICTURES), str(OUTPUT), json.dumps(layout))
    done = subprocess.run(command, env=host.environment(), capture_output=True, text=True)
    if done.returncode != 0:
        raise ServerError(f"The pictures could not be compared: {done.stderr.strip()}")
    likeness = json.loads(done.stdout)
    report = {model: {**_summary(ran), **likeness[model]} for model, ran in pairs.items()}
    (OUTPUT / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def table(report: dict[str, Any]) -> str:
    """The report as a table for the terminal."""
    rows = [COLUMNS, *([_cell(name, {**entry, "model": model}) for name in COLUMNS] for model, entry in report.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    reasons = [f"{model}: {entry['reason']}" for model, entry in report.items() if entry["reason"]]
    return "\n".join(["", *lines, *reasons, ""])


def filled(name: str, model: str, prompt: str, seed: int) -> dict[str, Any]:
    """The shipped graph `name` for a demo model, a prompt and a seed."""
    graph = json.loads((GRAPHS / f"{name}.json").read_text())
    graph["model"]["inputs"]["model"] = model
    graph["positive"]["inputs"]["text"] = prompt
    graph["sampler"]["inputs"]["seed"] = seed
    graph["save"]["inputs"]["filename_prefix"] += f"-{model}"
    return graph


def _pair(client: Client, model: str, prompt: str, seed: int, save_as: Path | None = None) -> Pair:
    plain, frdiff = (filled(name, model, prompt, seed) for name in ("plain", "frdiff"))
    _prepare(client, plain)
    ran_plain, ran_frdiff = client.run(plain), client.run(frdiff)
    if save_as:
        _save_pictures(client, ran_plain, f"{save_as}_plain")
        _save_pictures(client, ran_frdiff, f"{save_as}_frdiff")
    report = json.loads(ran_frdiff["outputs"]["report"]["text"][1])
    return Pair(prompt_seconds(ran_plain), prompt_seconds(ran_frdiff), report)


def _prepare(client: Client, graph: dict[str, Any]) -> None:
    """Run one step of the graph, after which the model and the text come from ComfyUI's cache."""
    short = copy.deepcopy(graph)
    short["sampler"]["inputs"]["steps"] = 1
    client.run(short)


def _save_pictures(client: Client, entry: dict[str, Any], stem: str) -> None:
    for number, image in enumerate(entry["outputs"]["save"]["images"], 1):
        Path(f"{stem}_{number}.png").write_bytes(client.view(**image))


def _summary(pairs: list[Pair]) -> dict[str, Any]:
    last = pairs[-1].report
    return {
        "steps": last["steps"],
        **{kind: last["counts"].get(kind, 0) for kind in ("full", "partial", "skip")},
        "seconds_plain": round(statistics.median(pair.seconds_plain for pair in pairs), 3),
        "seconds_frdiff": round(statistics.median(pair.seconds_frdiff for pair in pairs), 3),
        "speedup": round(statistics.median(pair.speedup for pair in pairs), 3),
        "prompts": list(PROMPTS),
        "pairs": [
            {"seconds_plain": pair.seconds_plain, "seconds_frdiff": pair.seconds_frdiff, "speedup": pair.speedup}
            for pair in pairs
        ],
        "reason": last.get("reason"),
    }


def _cell(name: str, entry: dict[str, Any]) -> str:
    value = entry[name]
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _check_nodes(client: Client) -> None:
    """Say which nodes ComfyUI did not load, before anything is run."""
    known = client.object_info()
    graphs = [json.loads(path.read_text()) for path in sorted(GRAPHS.glob("*.json"))]
    wanted = {node["class_type"] for graph in graphs for node in graph.values()}
    missing = ", ".join(sorted(wanted - known.keys()))
    if missing:
        raise ServerError(f"ComfyUI did not load these nodes: {missing}. The reason is in .host/comfyui.log.")


def _serve(client: Client, say: Say) -> None:
    say(f"ComfyUI is open: {client.address}")
    say("The workflow is under Templates, frdiff-demo-models, FRDiff demo. Press Ctrl-C to end ComfyUI.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        say("ComfyUI was ended.")
