"""Compare the pack with what there is without it, in a real ComfyUI, on the demo models or at true sizes.

    python scripts/bench.py --json bench.json --plot plots       quality for time, on the demo models
    python scripts/bench.py --overhead                           the engine's own cost
    python scripts/bench.py --device cuda --shape sdxl           time and memory of a network of true size

docs/benchmark.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from host import SetupError, add_comfyui_argument, ensure_host

INSIDE = "FRDIFF_BENCH_INSIDE"
MODELS = ["unet", "dit"]
SHAPES = ["sdxl", "sd15", "flux", "wan", "tiny"]

# What is left out on the command line, by what is measured.
DEFAULTS = {
    "compare": {"methods": ["*"], "steps": [20, 50], "samplers": ["euler", "dpmpp_2m", "euler_ancestral"]},
    "overhead": {"methods": ["paper M=2"], "steps": [20, 50], "samplers": ["euler"]},
    "shape": {"methods": ["paper M=*", "dial", "EasyCache 0.1"], "steps": [28], "samplers": ["euler"]},
}


def main() -> int:
    """Command line: set up, run inside the host's Python, print tables."""
    arguments = parse(sys.argv[1:])
    if os.environ.get(INSIDE):
        return _inside(arguments)
    try:
        host = ensure_host(arguments.comfyui)
    except SetupError as error:
        print(f"Set-up stopped: {error}", file=sys.stderr)
        return 1
    environment = {**host.environment(), INSIDE: "1"}
    return subprocess.run(host.command(str(Path(__file__).resolve()), *sys.argv[1:]), env=environment).returncode


def parse(command_line: list[str]) -> argparse.Namespace:
    """The arguments, with the defaults of what is measured filled in; `mode` says what that is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_comfyui_argument(parser)
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="names, families or patterns such as 'paper*'")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="demo models")
    parser.add_argument("--steps", nargs="+", type=_positive, help="solver steps of a run")
    parser.add_argument("--samplers", nargs="+", help="ComfyUI's names of samplers")
    parser.add_argument("--prompts", type=_positive, default=6, help="prompts, each with a seed of its own")
    parser.add_argument("--rounds", type=_positive, help="rounds of --overhead (30) and of --shape (5)")
    parser.add_argument("--batch", type=_positive, default=1, help="pictures in a run")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to compute")
    parser.add_argument("--overhead", action="store_true", help="measure the engine's own cost instead")
    parser.add_argument("--shape", choices=SHAPES, help="time a network of this size, random weights, instead")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="where to draw speed against error, one PNG per model")
    arguments = parser.parse_args(command_line)
    arguments.mode = "shape" if arguments.shape else "overhead" if arguments.overhead else "compare"
    for name, value in {**DEFAULTS[arguments.mode], "rounds": 5 if arguments.shape else 30}.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    return arguments


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


def _inside(arguments: argparse.Namespace) -> int:
    # All of scripts/ is imported before ComfyUI, which takes that folder off the path.
    import bench_compare
    import bench_gains
    import bench_overhead
    import bench_plot
    import bench_shapes
    import in_process

    modes = {"compare": bench_compare, "overhead": bench_overhead, "shape": bench_shapes}
    try:
        host = in_process.load_comfyui(arguments.device)
        _check_samplers(arguments.samplers)
        presets = in_process.engine_module(host, "frdiff.presets").PRESETS
        rows = modes[arguments.mode].measure(host, presets, arguments, lambda text: print(text, flush=True))
    except SetupError as error:
        print(f"The benchmark stopped: {error}", file=sys.stderr)
        return 1
    compared = arguments.mode == "compare"
    gains = bench_gains.gains(rows) if compared else {}
    print("\n" + "\n".join(bench_gains.lines(gains) if compared else modes[arguments.mode].lines(rows)))
    if arguments.json:
        document = {"rows": rows, "gains": gains, "environment": environment(), "arguments": recorded(arguments)}
        arguments.json.write_text(json.dumps(strict(document), indent=1, allow_nan=False) + "\n")
    for path in bench_plot.draw(rows, arguments.plot) if compared and arguments.plot else []:
        print(f"Drawn: {path}")
    return 0


def _check_samplers(names: list[str]) -> None:
    import comfy.samplers

    unknown = [name for name in names if name not in comfy.samplers.KSampler.SAMPLERS]
    if unknown:
        raise SetupError(f"ComfyUI has no sampler {', '.join(unknown)}.")


def environment() -> dict[str, Any]:
    """Where the figures were measured."""
    import comfy.model_management
    import comfyui_version
    import torch

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


if __name__ == "__main__":
    sys.exit(main())
