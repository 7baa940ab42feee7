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
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from headless import node_of, read_prompt
from host import SetupError, add_comfyui_argument, ensure_host

INSIDE = "FRDIFF_CALIBRATE_INSIDE"
NODE = "FRDiffAutoFR"
# Instead of the node's time limit, so that the file does not depend on how fast the machine is.
TRIES = 60
SEARCH, GATES = "search", "gates"

# The file of a name; tells its progress and hands on each better file.
Calibrate = Callable[[str, Any, Any], Any]


def main() -> int:
    """Command line: set up, calibrate inside the host's Python, and say what was found."""
    arguments = parse(sys.argv[1:])
    try:
        if os.environ.get(INSIDE):
            return _inside(arguments)
        node_of(read_prompt(arguments.workflow), NODE, arguments.node)
        host = ensure_host(arguments.comfyui)
    except SetupError as error:
        print(f"The calibration stopped: {error}", file=sys.stderr)
        return 1
    environment = {**host.environment(), INSIDE: "1"}
    return subprocess.run(host.command(str(Path(__file__).resolve()), *sys.argv[1:]), env=environment).returncode


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


def _inside(arguments: argparse.Namespace) -> int:
    # All of scripts/ is imported before ComfyUI, which takes that folder off the path.
    import in_process
    import ray_workers
    from calibrate_requests import order_of, request_of

    prompt = read_prompt(arguments.workflow)
    node = node_of(prompt, NODE, arguments.node)
    if arguments.ray:
        ray_workers.check_installed()
    # With Ray it is the workers that need the user's nodes.
    host = in_process.load_comfyui(arguments.device, user_nodes=not arguments.ray)
    errors = in_process.engine_module(host, "frdiff.errors")
    try:
        if arguments.ray:
            with ray_workers.cluster(arguments, prompt, node, _say) as workers:
                return _write(host, arguments, workers.order, _searching(host, arguments, workers.order, workers.do))
        request = request_of(host, prompt, node)
        order = order_of(request)
        if arguments.method == GATES:
            return _write(host, arguments, order, _learning(host, arguments, order, request))
        do = in_process.engine_module(host, "frdiff.auto_fr.jobs").in_turn(request.sample)
        return _write(host, arguments, order, _searching(host, arguments, order, do))
    except errors.FRDiffError as error:
        print(f"The calibration stopped: {error}", file=sys.stderr)
        return 1


def _searching(host: Any, arguments: argparse.Namespace, order: dict[str, Any], do: Any) -> Calibrate:
    import torch
    from in_process import engine_module

    chosen = engine_module(host, "frdiff.auto_fr.effort").EFFORTS[order["effort"]]
    chosen = replace(chosen, seconds=0.0, climbed=arguments.tries if chosen.seconds else None)
    if arguments.held_out is not None:
        chosen = replace(chosen, held_out=arguments.held_out)

    def calibrate(name: str, progress: Any, keep: Any) -> Any:
        calibration = engine_module(host, "frdiff.auto_fr.calibrate").Calibration
        with torch.inference_mode():
            return calibration(do, chosen, order["made"], name, order["seed"], progress).run(keep)

    return calibrate


def _learning(host: Any, arguments: argparse.Namespace, order: dict[str, Any], request: Any) -> Calibrate:
    from in_process import engine_module

    gates = engine_module(host, "frdiff.auto_fr.gates")
    given = {name: getattr(arguments, name) for name in ("iterations", "rate", "weight")}
    settings = gates.GateSettings(**{name: value for name, value in given.items() if value is not None})

    def calibrate(name: str, progress: Any, keep: Any) -> Any:
        with engine_module(host, "nodes.gradients").with_gradients(request) as learner:
            return gates.learn(learner.sample, order["made"], name, order["seed"], settings, progress, keep)

    return calibrate


def _write(host: Any, arguments: argparse.Namespace, order: dict[str, Any], calibrate: Calibrate) -> int:
    """Calibrate with a bar and write what is known as soon as it is; returns the exit code."""
    from in_process import engine_module
    from tqdm import tqdm

    store, calibrating, folder = (
        engine_module(host, name) for name in ("frdiff.schedule_store", "nodes.calibrating", "nodes.schedule_folder")
    )
    path = arguments.output or folder.free_path(order["name"])
    with tqdm(total=100, bar_format="{percentage:3.0f}%|{bar}| {elapsed} {desc}", dynamic_ncols=True) as bar:

        def progress(part: float, text: str) -> None:
            bar.n = 100 * part
            bar.set_description_str(text)

        try:
            file = calibrate(path.stem, progress, lambda known: store.write_schedule(path, known))
        except KeyboardInterrupt:
            known = f"What was known by then is in {path}." if path.is_file() else "Nothing was known yet."
            print(f"\nThe calibration was interrupted. {known}", file=sys.stderr)
            return 130
        progress(1.0, "done")
    print(f"{calibrating.describe(file)}\nWritten: {path}")
    return 0


def _say(text: str) -> None:
    """Above the bar, if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
