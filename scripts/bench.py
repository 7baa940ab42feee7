"""Compare the pack with what there is without it, in a real ComfyUI, on the demo models or at true sizes.

    python scripts/bench.py --json bench.json --plot plots       quality for time, on the demo models
    python scripts/bench.py --overhead                           the engine's own cost
    python scripts/bench.py --usual                              the settings that people use, at equal counted cost
    python scripts/bench.py --video                              the video model, with measures of motion
    python scripts/bench.py --device cuda --shape sdxl           time and memory of a network of true size

docs/benchmark.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from setup.host import Host, add_comfyui_argument
from setup.in_process import load_comfyui, pack_module
from setup.inside import inside, reported

MODELS = ["unet", "dit"]
ROUGH = "rough"
SHAPES = ["sdxl", "sd15", "flux", "wan", "tiny"]

# What is left out on the command line, by what is measured.
DEFAULTS = {
    "compare": {"methods": ["*"], "steps": [20, 50], "samplers": ["euler", "dpmpp_2m", "euler_ancestral"]},
    "overhead": {"methods": ["paper M=2"], "steps": [20, 50], "samplers": ["euler"]},
    "usual": {"methods": [], "models": [*MODELS, ROUGH], "steps": [], "samplers": []},
    "video": {
        "methods": [], "models": ["video"], "steps": [20, 30, 50],
        "samplers": ["euler", "uni_pc", "dpmpp_2m", "res_multistep"],
    },
    "shape": {"methods": ["paper M=*", "dial", "EasyCache 0.1"], "steps": [28], "samplers": ["euler"]},
}


def main() -> int:
    """Command line: set up, run inside the host's Python, print tables."""
    arguments = parse(sys.argv[1:])

    def work(_: Host) -> None:
        host = load_comfyui(arguments.device)
        pack_module(host, "scripts.bench.measuring").measure(host, arguments)

    return reported("The benchmark", lambda: inside(arguments.comfyui, work))


def parse(command_line: list[str]) -> argparse.Namespace:
    """The arguments, with the defaults of what is measured filled in; `mode` says what that is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_comfyui_argument(parser)
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="names, families or patterns such as 'paper*'")
    parser.add_argument("--models", nargs="+", choices=[*MODELS, ROUGH], help="demo models")
    parser.add_argument("--steps", nargs="+", type=_positive, help="solver steps of a run")
    parser.add_argument("--samplers", nargs="+", help="ComfyUI's names of samplers")
    parser.add_argument("--prompts", type=_positive, default=6, help="prompts, each with a seed of its own")
    parser.add_argument("--rounds", type=_positive, help="rounds of --overhead (30) and of --shape (5)")
    parser.add_argument("--batch", type=_positive, default=1, help="pictures in a run")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to compute")
    parser.add_argument("--overhead", action="store_true", help="measure the engine's own cost instead")
    parser.add_argument("--usual", action="store_true", help="compare at the settings that people use instead")
    parser.add_argument("--video", action="store_true", help="compare clips of the video model instead")
    both = "of --usual and --video:"
    parser.add_argument("--rows", nargs="+", default=["*"], metavar="PATTERN", help=f"{both} settings, as 'dit *'")
    parser.add_argument("--draw", default="report", help=f"{both} a word that prompts and seeds are drawn with")
    parser.add_argument("--pairs", type=_positive, help=f"{both} prompt-seed pairs of a setting (32 and 10)")
    parser.add_argument("--dials", nargs="+", type=float, default=[1.5, 2.0, 3.0], help=both[:-1])
    parser.add_argument("--shape", choices=SHAPES, help="time a network of this size, random weights, instead")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="where to draw speed against error, one PNG per model")
    arguments = parser.parse_args(command_line)
    others = [mode for mode in ("shape", "overhead", "usual", "video") if getattr(arguments, mode)]
    arguments.mode = others[0] if others else "compare"
    counts = {"rounds": 5 if arguments.shape else 30, "pairs": 10 if arguments.video else 32}
    defaults = {"models": MODELS, **DEFAULTS[arguments.mode], **counts}
    for name, value in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    return arguments


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
