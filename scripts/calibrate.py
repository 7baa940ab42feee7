"""Do the work of a FRDiff Auto-FR node without ComfyUI's window.

    python scripts/calibrate.py workflow.json                   the file is written to models/frdiff
    python scripts/calibrate.py workflow.json --output my.safetensors

`workflow.json` has a node FRDiff Auto-FR and was exported in API format. docs/calibrate.md says more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from calibrate.headless import node_of, read_prompt
from setup.host import Host, add_comfyui_argument
from setup.in_process import load_comfyui, pack_module
from setup.inside import inside, reported

NODE = "FRDiffAutoFR"


def main() -> int:
    """Command line: set up, calibrate inside the host's Python, and say what was found."""
    arguments = parse(sys.argv[1:])
    return reported("The calibration", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    prompt = read_prompt(arguments.workflow)
    node = node_of(prompt, NODE, arguments.node)

    def work(_: Host) -> int:
        host = load_comfyui(arguments.device, user_nodes=True)
        return pack_module(host, "scripts.calibrate.work").calibrate(host, arguments, prompt, node)

    return inside(arguments.comfyui, work)


def parse(command_line: list[str]) -> argparse.Namespace:
    """The arguments; paths are absolute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_comfyui_argument(parser)
    parser.add_argument("workflow", type=Path, help="a workflow in API format with a node FRDiff Auto-FR")
    parser.add_argument("--node", metavar="ID", help="which node, where there are several")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write; an existing file is replaced")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to compute")
    arguments = parser.parse_args(command_line)
    if arguments.output and arguments.output.suffix != ".safetensors":
        parser.error("--output must end in .safetensors")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
