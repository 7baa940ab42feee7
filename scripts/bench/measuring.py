"""What bench.py does in the host's Python. Loaded as a module of the pack, as all that imports the pack here."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from typing import Any

import comfy.model_management
import comfy.samplers
import comfyui_version
import torch

from bench import compare, gains, overhead, plot, shapes
from setup import ScriptError

from ...frdiff.planning.presets import PRESETS
from . import usual, video

MODES = {"compare": compare, "overhead": overhead, "shape": shapes, "usual": usual, "video": video}


def measure(host: Any, arguments: argparse.Namespace) -> None:
    """Measure what the arguments say, print tables, and write what is asked for."""
    _check_samplers(arguments.samplers)
    mode = MODES[arguments.mode]
    rows = mode.measure(host, PRESETS, arguments, lambda text: print(text, flush=True))
    compared = arguments.mode == "compare"
    gained = gains.gains(rows) if compared else {}
    print("\n" + "\n".join(gains.lines(gained) if compared else mode.lines(rows)))
    if arguments.json:
        document = {"rows": rows, "gains": gained, "environment": environment(), "arguments": recorded(arguments)}
        arguments.json.write_text(json.dumps(strict(document), indent=1, allow_nan=False) + "\n")
    for path in plot.draw(rows, arguments.plot) if compared and arguments.plot else []:
        print(f"Drawn: {path}")


def _check_samplers(names: list[str]) -> None:
    unknown = [name for name in names if name not in comfy.samplers.KSampler.SAMPLERS]
    if unknown:
        raise ScriptError(f"ComfyUI has no sampler {', '.join(unknown)}.")


def environment() -> dict[str, Any]:
    """Where the figures were measured."""
    device = comfy.model_management.get_torch_device()
    cuda = device.type == "cuda"
    return {
        "comfyui": comfyui_version.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if cuda else platform.machine(),
        "device_type": device.type,
    }


def strict(value: Any) -> Any:
    """The value with null where JSON has no number: infinity and what a diverged run left."""
    if isinstance(value, dict):
        return {name: strict(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [strict(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def recorded(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments that decide the figures; those that name places on this machine are left out."""
    return {name: value for name, value in vars(arguments).items() if name not in ("comfyui", "json", "plot")}
