"""Measure what calibrations are worth on held-out pairs, and whether "by error" keeps its word.

    python scripts/make.py calibration-table                     the table of docs/findings_auto_fr.md, as JSON as well
    python scripts/make.py calibration-table --only unet --pairs 8
"""

from __future__ import annotations

import argparse
from pathlib import Path

from setup import ROOT
from setup.host import Host
from setup.in_process import load_comfyui, pack_module
from setup.inside import inside

SETTINGS = (
    "unet dpmpp_2m karras 20 8", "rough euler simple 20 5", "dit euler simple 20 4", "rough dpmpp_2m simple 20 5",
    "unet dpmpp_2m karras 28 8", "dit dpmpp_2m simple 20 5", "video euler simple 20 5",
)  # fmt: skip
PAIRS = 32
DIALS = (1.5, 2.0, 3.0)
# Prompts and seeds that are calibrated with, and those that are held out; nothing was chosen on either.
DRAWS = ("report-16a", "report-16b")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    parser.add_argument("--only", metavar="START", default="", help="the rows that begin so, as 'unet', alone")
    parser.add_argument("--pairs", type=int, default=PAIRS, metavar="N", help=f"held-out pairs ({PAIRS})")
    parser.add_argument("--effort", default="normal", help="the effort of the calibration (normal)")
    parser.add_argument("--json", type=Path, default=ROOT / "output" / "calibration.json", help="where the figures go")


def make(arguments: argparse.Namespace) -> int:
    """Calibrate, measure and print; returns the exit code."""

    def work(_: Host) -> int:
        host = load_comfyui("cpu")
        return pack_module(host, "scripts.calibrate.held_out").table(host, arguments)

    return inside(arguments.comfyui, work)
