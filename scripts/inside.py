"""Run a script again in the host's Python, where ComfyUI's packages and the browser's driver are."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from browser import NoBrowser
from host import Host, SetupError, add_comfyui_argument, ensure_browser_tools, ensure_host
from server import ServerError


def run_inside(script: str, description: str, make: Callable[[Host], None]) -> int:
    """The command line of `script`: set up, run `make` in the host's Python, and return the exit code."""
    parser = argparse.ArgumentParser(description=description)
    add_comfyui_argument(parser)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        host = ensure_host(arguments.comfyui)
        ensure_browser_tools(host)
        if arguments.inside:
            make(host)
            return 0
    except (SetupError, ServerError, NoBrowser) as error:
        print(f"{Path(script).name} stopped: {error}", file=sys.stderr)
        return 1
    command = host.command(str(Path(script).resolve()), "--inside", "--comfyui", str(host.comfyui))
    return subprocess.run(command, env=host.environment()).returncode
