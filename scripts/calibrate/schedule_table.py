"""Measure what the shipped schedule files are worth, and print the table of docs/findings_auto_fr.md.

    python scripts/make.py schedule-table              all rows
    python scripts/make.py schedule-table --write      and put them into docs/findings_auto_fr.md
    python scripts/make.py schedule-table --pairs 4 --models unet --cases 20:20:euler    a part of it, sooner

A pair is a prompt and a seed that the calibrations have not seen. A case CALIBRATED:STEPS:SAMPLER uses the file for so
many steps with other steps or another sampler.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from setup import ROOT, ScriptError
from setup.in_process import DemoModel, load_comfyui, pack_module
from setup.inside import inside

PAGE = ROOT / "docs" / "findings_auto_fr.md"
# Calibrated steps, steps, sampler, pairs.
CASES = ("20:20:euler:32", "50:50:euler:32", "50:28:euler:16", "50:50:dpmpp_2m:16")
HEAD = (
    "| model, calibrated steps | used with | speed | fewer steps | prior | calibrated | difference | worst pair "
    "| better |\n|---|---|---|---|---|---|---|---|---|"
)
NAMES = {"unet": "UNet", "dit": "DiT"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    parser.add_argument("--models", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--cases", nargs="+", metavar="CALIBRATED:STEPS:SAMPLER", default=list(CASES))
    parser.add_argument("--pairs", type=int, metavar="N", help="instead of 32, and 16 for files used elsewhere")
    parser.add_argument("--folder", type=Path, default=ROOT / "schedules", help="where the files are")
    parser.add_argument("--write", action="store_true", help="replace the table in the page")


def make(arguments: argparse.Namespace) -> int:
    """Measure inside the host's Python, and print; returns the exit code."""
    return inside(arguments.comfyui, lambda _: _make(arguments))


def _make(arguments: argparse.Namespace) -> None:
    print(HEAD, flush=True)
    lines = [HEAD]
    for line in _rows(arguments):
        print(line, flush=True)
        lines.append(line)
    if arguments.write:
        page = PAGE.read_text(encoding="ascii")
        table = re.compile(re.escape(HEAD) + r"\n(\|[^\n]*\n)*")
        if not table.search(page):
            raise ScriptError(f"{PAGE.name} has no such table; nothing was written.")
        PAGE.write_text(table.sub("\n".join(lines) + "\n", page), encoding="ascii")


def _rows(arguments: argparse.Namespace) -> Iterator[str]:
    """The lines of the table, as they are measured."""
    host = load_comfyui("cpu")
    measured = pack_module(host, "scripts.calibrate.worth").measured
    for name in arguments.models:
        demo = DemoModel(host, name)
        for case in arguments.cases:
            made, steps, sampler, *pairs = case.split(":")
            file = arguments.folder / f"demo_{name}_{made}.safetensors"
            count = arguments.pairs or int(*pairs or ["32"])
            for speedup, row in measured(demo, file, int(steps), sampler, count):
                yield f"| {NAMES[name]}, {made} | {steps} {sampler} | {speedup:g}x | {row.cells()} |"
