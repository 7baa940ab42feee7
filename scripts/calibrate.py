"""Do the work of a FRDiff Auto-FR node without ComfyUI's window, here or on a Ray cluster.

    python scripts/calibrate.py workflow.json                   the file is written to models/frdiff
    python scripts/calibrate.py workflow.json --output my.safetensors
    python scripts/calibrate.py workflow.json --ray local       with workers on this machine
    python scripts/calibrate.py workflow.json --ray ADDRESS     with the workers of a Ray cluster
    python scripts/calibrate.py workflow.json --method gates    learned with gradients, as the paper's Auto-FR

`workflow.json` has a node FRDiff Auto-FR and was exported in API format. docs/calibrate.md says more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from calibrate import ray_workers
from calibrate.headless import node_of, read_prompt
from setup.host import Host, add_comfyui_argument
from setup.in_process import load_comfyui, pack_module
from setup.inside import inside, reported

NODE = "FRDiffAutoFR"
# Instead of the node's time limit, so that the file does not depend on how fast the machine is.
TRIES = 60
SEARCH, GATES = "search", "gates"


def main() -> int:
    """Command line: set up, calibrate inside the host's Python, and say what was found."""
    arguments = parse(sys.argv[1:])
    return reported("The calibration", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    prompt = read_prompt(arguments.workflow)
    node = node_of(prompt, NODE, arguments.node)

    def work(_: Host) -> int:
        if arguments.ray:
            ray_workers.check_installed()
        # With Ray it is the workers that need the user's nodes.
        host = load_comfyui(arguments.device, user_nodes=not arguments.ray)
        return pack_module(host, "scripts.calibrate.work").calibrate(host, arguments, prompt, node)

    return inside(arguments.comfyui, work)


def parse(command_line: list[str]) -> argparse.Namespace:
    """The arguments; paths are absolute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_comfyui_argument(parser)
    parser.add_argument("workflow", type=Path, help="a workflow in API format with a node FRDiff Auto-FR")
    parser.add_argument("--node", metavar="ID", help="which node, where there are several")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write; an existing file is replaced")
    parser.add_argument("--held-out", type=int, metavar="N", help="runs to judge by, instead of the effort's")
    parser.add_argument(
        "--tries", type=int, default=TRIES, metavar="N", help=f"thorough: changes tried per speed-up ({TRIES})"
    )
    parser.add_argument("--method", choices=[SEARCH, GATES], default=SEARCH, help="gates: as the paper's Auto-FR")
    parser.add_argument("--iterations", type=int, metavar="N", help="gates: how many runs to learn from")
    parser.add_argument("--rate", type=float, metavar="X", help="gates: how far they move at each of these")
    parser.add_argument("--weight", type=float, metavar="X", help="gates: what computed steps count against the error")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to compute")
    parser.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster's address, or local to start one here")
    parser.add_argument("--workers", type=int, metavar="N", help="how many Ray workers; one per GPU, or as CPUs allow")
    arguments = parser.parse_args(command_line)
    if arguments.output and arguments.output.suffix != ".safetensors":
        parser.error("--output must end in .safetensors")
    if arguments.method == GATES and arguments.ray:
        parser.error("--method gates runs in one process, because each of its runs learns from the one before")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
