"""Run a script again in the host's Python, where ComfyUI's packages and the tools are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from . import ScriptError
from .host import Host, ensure_host, host_of

# Set by the first run for the second: the folder of ComfyUI.
INSIDE = "FRDIFF_INSIDE"


def reported(what: str, run: Callable[[], int | None]) -> int:
    """The exit code of `run`, or 1 after the sentence that stopped it."""
    try:
        return run() or 0
    except ScriptError as error:
        print(f"{what} stopped: {error}", file=sys.stderr)
        return 1


def inside(comfyui: Path | None, work: Callable[[Host], int | None], *prepare: Callable[[Host], None]) -> int:
    """The exit code of `work` in the host's Python: called if this is it, else that of the same command there.

    `comfyui` is the existing installation that was asked for; `prepare` installs what the work needs besides.
    """
    if os.environ.get(INSIDE):
        return work(host_of(Path(os.environ[INSIDE]), Path(sys.executable))) or 0
    host = ensure_host(comfyui)
    for each in prepare:
        each(host)
    command = host.command(str(Path(sys.argv[0]).resolve()), *sys.argv[1:])
    return subprocess.run(command, env={**host.environment(), INSIDE: str(host.comfyui)}).returncode
