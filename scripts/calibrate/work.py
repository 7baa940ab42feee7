"""What calibrate.py does in the host's Python. Loaded as a module of the pack, as all that imports the pack here."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tqdm import tqdm

from calibrate.headless import Prompt, inputs_of
from setup import ScriptError

from ...frdiff.auto_fr.calibrate import EFFORTS
from ...frdiff.errors import FRDiffError
from ...nodes.calibration import describe
from ...nodes.calibration_request import Request
from ...nodes.calibration_run import run_calibration
from ...nodes.schedule_folder import file_to_go_on


def calibrate(host: Any, arguments: argparse.Namespace, prompt: Prompt, node: str) -> int:
    """Calibrate what a node of a workflow asks for, and return the exit code; raises ScriptError with a sentence."""
    try:
        return _calibrate(arguments, Request(**inputs_of(host, prompt, node)))
    except FRDiffError as error:
        raise ScriptError(str(error)) from error


def _calibrate(arguments: argparse.Namespace, request: Request) -> int:
    path, known = file_to_go_on(request.title, request.key)
    if arguments.output:
        path, known = arguments.output, None
    if known is None or known.done < EFFORTS[request.effort].pictures:
        with tqdm(bar_format="{elapsed} {desc}", dynamic_ncols=True) as bar:
            try:
                known = run_calibration(request, path, known, bar.set_description_str, lambda file: None)
            except KeyboardInterrupt:
                left = f"What was known by then is in {path}." if path.is_file() else "Nothing was known yet."
                print(f"\nThe calibration was interrupted. {left}", file=sys.stderr)
                return 130
    print(f"{describe(known, request.wish)}\nWritten: {path}")
    return 0
