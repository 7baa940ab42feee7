"""The demo: the same pictures and clips plain, with FRDiff, and plain with so few steps that as much is computed.

For each of SETTINGS the graphs in `graphs` run in rounds of one seed: plain, then FRDiff at each dial with its rival,
a plain run of as many steps as FRDiff computed evaluations. Before each round a run of one step loads the model and
the text, so that what is timed is sampling, decoding and saving. Seconds are medians over the rounds; the speedup is
the median of the rounds' own ratios, because the runs of a round meet the same load.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.setting import Setting
from setup import ROOT
from setup.host import Host
from setup.installing import Say
from setup.server import Client, ServerError, comfyui, prompt_seconds

GRAPHS = Path(__file__).resolve().parent / "graphs"
PICTURES = Path(__file__).resolve().parent / "pictures.py"
OUTPUT = ROOT / "output" / "demo"
PROMPTS = ("grinning face, 3d", "red apple, 3d", "dog face, 3d", "rocket, 3d")
CLIP_PROMPTS = ("rocket slide", "dog face bounce", "red apple turn", "red heart pulse")
TWICE = 2
FIRST_SEED = 1
WARM_UP_SEED = 1000
# FRDiff's runs and what the demo calls them; the first one is the demo's speedup, on which the report's totals are.
DIALS = {"frdiff": 2.0, "frdiff-3x": 3.0}
PLAIN = "plain"
COLUMNS = (
    "setting", "run", "steps", "full", "partial", "skip", "seconds", "speedup", "psnr", "ssim", "flicker",
)  # fmt: skip


SETTINGS = {
    "unet": Setting("unet", "dpmpp_2m", "karras", 28, 7.0),
    "unet-20": Setting("unet", "dpmpp_2m", "karras", 20, 8.0),
    "dit": Setting("dit", "euler", "simple", 20, 4.0),
    "video": Setting("video", "euler", "simple", 20, 5.0),
}
# Models of clips, which have graphs and prompts of their own.
ANIMATED = ("video",)


@dataclass(frozen=True)
class Run:
    """One run: its steps, its seconds, and FRDiff's own report where it was FRDiff's."""

    steps: int
    seconds: float
    report: dict[str, Any] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Evaluations of each kind; a plain run computes all."""
        return self.report["counts"] if self.report else {"full": self.steps, "partial": 0, "skip": 0}


# The runs of one seed by name: plain, FRDiff's, and the rival of each of these.
Round = dict[str, Run]


def run_demo(host: Host, cpu: bool, serve: bool, say: Say) -> dict[str, Any]:
    """Run both demo models in ComfyUI, write output/demo and return the report."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    say(f"Starting ComfyUI on the {'CPU' if cpu else 'GPU'} ...")
    with comfyui(host, cpu) as client:
        _check_nodes(client)
        rounds = {name: measure(client, name, setting, say) for name, setting in SETTINGS.items()}
        report = write_report(host, rounds)
        say(table(report))
        say(f"Pictures, sheet.png, clips side by side and report.json are in {OUTPUT.relative_to(ROOT)}.")
        if serve:
            _serve(client, say)
    return report


def rival_of(name: str) -> str:
    """What the plain run is called that computes as much as an FRDiff run."""
    return name.replace("frdiff", "fewer")


def _words(setting: Setting) -> str:
    return f"{setting.model}, {setting.sampler} {setting.scheduler}, {setting.steps} steps, cfg {setting.cfg:g}"


def prompts_of(setting: Setting) -> tuple[str, ...]:
    """What is made with a model: each prompt as often as the others."""
    return (CLIP_PROMPTS if setting.model in ANIMATED else PROMPTS) * TWICE


def measure(client: Client, name: str, setting: Setting, say: Say) -> list[Round]:
    """One round to warm up, which is not counted, then two rounds per prompt; saves the pictures."""
    say(f"{_words(setting)}: warming up ...")
    prompts, rounds = prompts_of(setting), []
    _round(client, setting, prompts[0], WARM_UP_SEED)
    for number, prompt in enumerate(prompts):
        ran = _round(client, setting, prompt, FIRST_SEED + number, f"{name}_{number + 1}")
        rounds.append(ran)
        times = "   ".join(f"{run} {ran[run].seconds:.2f} s" for run in (PLAIN, *DIALS))
        say(f"{name}: {prompt:<20} {times}")
    return rounds


def write_report(host: Host, rounds: dict[str, list[Round]]) -> dict[str, Any]:
    """Compare the pictures, write sheet.png and report.json, and return the report."""
    layout = {
        "settings": {name: _words(SETTINGS[name]) for name in rounds}, "shown": len(PROMPTS),
        "prompts": {name: prompts_of(SETTINGS[name]) for name in rounds},
        "animated": [name for name in rounds if SETTINGS[name].model in ANIMATED],
        "runs": {name: {run: _caption(run, ran[0][run]) for run in ran[0]} for name, ran in rounds.items()},
    }  # fmt: skip
    command = host.command(str(PICTURES), str(OUTPUT), json.dumps(layout))
    done = subprocess.run(command, env=host.environment(), capture_output=True, text=True)
    if done.returncode != 0:
        raise ServerError(f"The pictures could not be compared: {done.stderr.strip()}")
    likeness = json.loads(done.stdout)
    report = {name: _summary(SETTINGS[name], ran, likeness[name]) for name, ran in rounds.items()}
    (OUTPUT / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def table(report: dict[str, Any]) -> str:
    """The report as a table for the terminal: a row for each run of each setting."""
    rows = [list(COLUMNS)]
    for name, entry in report.items():
        rows += [[_cell({**run, "setting": name, "run": kind}[column]) for column in COLUMNS]
                 for kind, run in entry["runs"].items()]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    reasons = [f"{name}: {entry['reason']}" for name, entry in report.items() if entry["reason"]]
    return "\n".join(["", *lines, *reasons, ""])


def filled(graph_name: str, setting: Setting, prompt: str, seed: int, **sampler: Any) -> dict[str, Any]:
    """A shipped graph for a setting, a prompt and a seed; `sampler` changes more inputs of the sampler."""
    kind = "_video" if setting.model in ANIMATED else ""
    graph = json.loads((GRAPHS / f"{graph_name}{kind}.json").read_text())
    graph["model"]["inputs"]["model"] = setting.model
    graph["positive"]["inputs"]["text"] = prompt
    graph["sampler"]["inputs"] |= {
        "seed": seed, "steps": setting.steps, "cfg": setting.cfg, "sampler_name": setting.sampler,
        "scheduler": setting.scheduler, **sampler,
    }  # fmt: skip
    graph["save"]["inputs"]["filename_prefix"] += f"-{setting.model}"
    return graph


def _round(client: Client, setting: Setting, prompt: str, seed: int, save_as: str | None = None) -> Round:
    def run(name: str, graph_name: str, **sampler: Any) -> Run:
        graph = filled(graph_name, setting, prompt, seed, **sampler)
        ran = client.run(graph)
        if save_as:
            _save_pictures(client, ran, f"{OUTPUT / save_as}_{name}")
        report = json.loads(ran["outputs"]["report"]["text"][1]) if "report" in graph else None
        return Run(graph["sampler"]["inputs"]["steps"], prompt_seconds(ran), report)

    _prepare(client, filled("plain", setting, prompt, seed))
    ran = {PLAIN: run(PLAIN, "plain")}
    for name, dial in DIALS.items():
        ran[name] = run(name, "frdiff", speedup=dial)
        rival = rival_of(name)
        # As many steps as were computed, in part or in full: FRDiff is not flattered.
        steps = math.ceil(sum(ran[name].counts[kind] for kind in ("full", "partial")))
        ran[rival] = run(rival, "plain", steps=steps)
    return ran


def _prepare(client: Client, graph: dict[str, Any]) -> None:
    """Run one step of the graph, after which the model and the text come from ComfyUI's cache."""
    short = copy.deepcopy(graph)
    short["sampler"]["inputs"]["steps"] = 1
    client.run(short)


def _save_pictures(client: Client, entry: dict[str, Any], stem: str) -> None:
    for number, image in enumerate(entry["outputs"]["save"]["images"], 1):
        Path(f"{stem}_{number:02}.png").write_bytes(client.view(**image))


def _summary(setting: Setting, rounds: list[Round], likeness: dict[str, dict[str, float]]) -> dict[str, Any]:
    """What is told of a setting: FRDiff's first dial against plain, and a row for every run."""
    main = next(iter(DIALS))
    last = rounds[-1][main].report or {}
    pairs = [(ran[PLAIN].seconds, ran[main].seconds) for ran in rounds]
    return {
        **vars(setting),
        **rounds[-1][main].counts,
        "seconds_plain": round(statistics.median(plain for plain, _ in pairs), 3),
        "seconds_frdiff": round(statistics.median(frdiff for _, frdiff in pairs), 3),
        "speedup": round(statistics.median(plain / frdiff for plain, frdiff in pairs), 3),
        **likeness[main],
        "prompts": list(prompts_of(setting)),
        "pairs": [
            {"seconds_plain": plain, "seconds_frdiff": frdiff, "speedup": plain / frdiff} for plain, frdiff in pairs
        ],
        "runs": {run: _row(run, rounds, likeness) for run in rounds[0]},
        "reason": last.get("reason"),
    }


def _row(run: str, rounds: list[Round], likeness: dict[str, dict[str, float]]) -> dict[str, Any]:
    ratios = [ran[PLAIN].seconds / ran[run].seconds for ran in rounds]
    return {
        "steps": rounds[-1][run].steps,
        **rounds[-1][run].counts,
        "seconds": round(statistics.median(ran[run].seconds for ran in rounds), 3),
        "speedup": round(statistics.median(ratios), 3),
        **{"psnr": None, "ssim": None, "flicker": None, **likeness.get(run, {})},
    }


def _caption(name: str, run: Run) -> str:
    """What the sheet says above a run's pictures: what is computed, which is the same on every machine."""
    if name not in DIALS:
        return f"KSampler, {run.steps} steps"
    return f"FRDiff at {DIALS[name]:g}, {run.counts['full'] + run.counts['partial']} of {run.steps} computed"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.{2 if value > 0.1 else 4}f}" if isinstance(value, float) else str(value)


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
