"""Calibrate the demo models, and write the four files in schedules/ again.

    python scripts/make.py schedules                      all four
    python scripts/make.py schedules --only unet-20       one of them
    python scripts/make.py schedules --ray local          with what calibrate.py has for a cluster

Afterwards python scripts/make.py schedule-table measures what they are worth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from setup import ROOT, SCRIPTS

# Not among those that the files are measured with (schedule_table.py).
PROMPTS = ("grinning face, 3d", "red apple, google", "dog face, twitter", "rocket, 3d")
SEED, CFG = 5, 3.0
# Runs to judge by, by the number of steps: long runs differ less.
HELD_OUT = {20: 8, 50: 4}
FILES = [f"{model}-{steps}" for model in ("unet", "dit") for steps in HELD_OUT]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    parser.add_argument("--only", nargs="+", choices=FILES, default=FILES, help="which files")
    parser.add_argument("--folder", type=Path, default=ROOT / "schedules", help="where to write them")
    parser.add_argument("--ray", metavar="ADDRESS", help="as for calibrate.py")
    parser.add_argument("--workers", metavar="N", help="as for calibrate.py")


def make(arguments: argparse.Namespace) -> int:
    """One run of calibrate.py per file; returns the exit code."""
    passed_on = [
        each
        for name in ("comfyui", "ray", "workers")
        if (value := getattr(arguments, name)) is not None
        for each in (f"--{name}", str(value))
    ]
    for file in arguments.only:
        model, steps = file.split("-")
        print(f"{file}:", flush=True)
        code = calibrate(model, int(steps), arguments.folder / f"demo_{model}_{steps}.safetensors", passed_on)
        if code:
            return code
    return 0


def calibrate(model: str, steps: int, path: Path, passed_on: list[str]) -> int:
    """Write one file; returns the exit code of calibrate.py."""
    with tempfile.TemporaryDirectory() as folder:
        flow = Path(folder) / "workflow.json"
        flow.write_text(json.dumps(workflow(model, steps)))
        # Climbing on the recorded runs was found to gain nothing on others (docs/findings_auto_fr.md).
        options = ["--output", str(path), "--held-out", str(HELD_OUT[steps]), "--tries", "0", "--device", "cpu"]
        command = [sys.executable, str(SCRIPTS / "calibrate.py"), str(flow), *options, *passed_on]
        return subprocess.run(command).returncode


def workflow(model: str, steps: int) -> dict[str, Any]:
    """A workflow in API format that calibrates a demo model with all prompts."""
    texts = dict(zip(("positive", "positive_2", "positive_3", "positive_4"), PROMPTS, strict=True))
    encoders = {
        name: {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["model", 1]}}
        for name, text in {**texts, "negative": ""}.items()
    }
    inputs = {
        "model": ["model", 0], **{name: [name, 0] for name in encoders}, "latent_image": ["latent", 0], "seed": SEED,
        "steps": steps, "cfg": CFG, "sampler_name": "euler", "scheduler": "normal", "effort": "thorough",
        "name": f"demo_{model}_{steps}", "speedup": 2.0,
    }  # fmt: skip
    return {
        "model": {"class_type": "FRDiffDemoModelLoader", "inputs": {"model": model}},
        "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
        **encoders,
        "auto": {"class_type": "FRDiffAutoFR", "inputs": inputs},
    }
