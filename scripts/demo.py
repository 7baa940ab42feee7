"""Make the same pictures plain and with FRDiff in a real ComfyUI, and say how long each took.

    python scripts/demo.py                 set up, run, write output/demo
    python scripts/demo.py --serve         leave ComfyUI open afterwards
    python scripts/demo.py --comfyui PATH  use an existing ComfyUI
    python scripts/demo.py --json          print the report and nothing else to stdout

How it is measured is in scripts/demo/side_by_side.py.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys

from demo.side_by_side import run_demo
from setup.host import add_comfyui_argument, ensure_host
from setup.inside import reported
from setup.server import uses_cpu


def main() -> int:
    """Command line: run the demo and return 0, or say in a sentence what went wrong and return 1."""
    arguments = _arguments()
    # Python would otherwise end without ending ComfyUI.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return reported("The demo", lambda: _run(arguments))
    except KeyboardInterrupt:
        print("The demo was interrupted.", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> None:
    stream = sys.stderr if arguments.json else sys.stdout

    def say(text: str) -> None:
        print(text, file=stream, flush=True)

    host = ensure_host(arguments.comfyui, say)
    report = run_demo(host, uses_cpu(host, arguments.device), arguments.serve, say)
    if arguments.json:
        print(json.dumps(report, indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_comfyui_argument(parser)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where ComfyUI runs")
    parser.add_argument("--serve", action="store_true", help="leave ComfyUI open afterwards and print its address")
    parser.add_argument("--json", action="store_true", help="print the report as JSON to stdout, the rest to stderr")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
