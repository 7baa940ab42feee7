"""Measure what the shipped schedule files are worth, and print the table of docs/findings_auto_fr.md.

    python scripts/calibrate_table.py                  all rows
    python scripts/calibrate_table.py --write          and put them into docs/findings_auto_fr.md
    python scripts/calibrate_table.py --pairs 4 --models unet --cases 20:20:euler    a part of it, sooner

A pair is a prompt and a seed that the calibrations have not seen. A case CALIBRATED:STEPS:SAMPLER uses the file for so
many steps with other steps or another sampler.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from host import ROOT, SetupError, add_comfyui_argument, ensure_host

INSIDE = "FRDIFF_CALIBRATE_TABLE_INSIDE"
PAGE = ROOT / "docs" / "findings_auto_fr.md"
# Calibrated steps, steps, sampler, pairs.
CASES = ("20:20:euler:32", "50:50:euler:32", "50:28:euler:16", "50:50:dpmpp_2m:16")
SPEEDUPS = (2.0, 3.0)
FIRST_SEED = 7000
HEAD = (
    "| model, calibrated steps | used with | speed | fewer steps | prior | calibrated | difference | worst pair "
    "| better |\n|---|---|---|---|---|---|---|---|---|"
)
NAMES = {"unet": "UNet", "dit": "DiT"}


@dataclass(frozen=True)
class Row:
    """PSNR in dB of each pair, at equal numbers of computed steps."""

    fewer: list[float]
    prior: list[float]
    calibrated: list[float]

    def cells(self) -> str:
        """The figures of the table."""
        apart = [ours - theirs for ours, theirs in zip(self.calibrated, self.prior, strict=True)]
        means = " | ".join(f"{mean(each):.2f}" for each in (self.fewer, self.prior, self.calibrated))
        better = sum(each > 0 for each in apart)
        return f"{means} | {mean(apart):+.2f} | {min(apart):+.2f} | {better} of {len(apart)}"


def main() -> int:
    """Command line: set up, measure inside the host's Python, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_comfyui_argument(parser)
    parser.add_argument("--models", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--cases", nargs="+", metavar="CALIBRATED:STEPS:SAMPLER", default=list(CASES))
    parser.add_argument("--pairs", type=int, metavar="N", help="instead of 32, and 16 for files used elsewhere")
    parser.add_argument("--folder", type=Path, default=ROOT / "schedules", help="where the files are")
    parser.add_argument("--write", action="store_true", help="replace the table in the page")
    arguments = parser.parse_args()
    if not os.environ.get(INSIDE):
        try:
            host = ensure_host(arguments.comfyui)
        except SetupError as error:
            print(f"The measurement stopped: {error}", file=sys.stderr)
            return 1
        environment = {**host.environment(), INSIDE: "1"}
        return subprocess.run(host.command(str(Path(__file__).resolve()), *sys.argv[1:]), env=environment).returncode
    print(HEAD, flush=True)
    lines = [HEAD]
    for line in rows(arguments):
        print(line, flush=True)
        lines.append(line)
    if arguments.write:
        page = PAGE.read_text(encoding="ascii")
        table = re.compile(re.escape(HEAD) + r"\n(\|[^\n]*\n)*")
        if not table.search(page):
            raise SystemExit(f"{PAGE.name} has no such table; nothing was written.")
        PAGE.write_text(table.sub("\n".join(lines) + "\n", page), encoding="ascii")
    return 0


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    """The lines of the table, as they are measured."""
    # All of scripts/ is imported before ComfyUI, which takes that folder off the path.
    import bench_compare  # noqa: F401
    import bench_quality  # noqa: F401
    import calibrate_demo  # noqa: F401
    import in_process

    host = in_process.load_comfyui("cpu")
    for name in arguments.models:
        demo = in_process.DemoModel(host, name)
        for case in arguments.cases:
            made, steps, sampler, *pairs = case.split(":")
            file = arguments.folder / f"demo_{name}_{made}.safetensors"
            count = arguments.pairs or int(*pairs or ["32"])
            for speedup, row in measured(host, demo, file, int(steps), sampler, count):
                yield f"| {NAMES[name]}, {made} | {steps} {sampler} | {speedup:g}x | {row.cells()} |"


def measured(host: Any, demo: Any, path: Path, steps: int, sampler: str, pairs: int) -> Iterator[tuple[float, Row]]:
    """A row for each speed-up."""
    from in_process import engine_module

    file = engine_module(host, "frdiff.schedule_store").read_schedule(path)
    calibrated = engine_module(host, "frdiff.calibrated").calibrated
    prior = engine_module(host, "frdiff.prior").PriorSchedule
    conditions = [demo.encode(text) for text in prompts(pairs)]
    full = [run(host, demo, c, FIRST_SEED + i, steps, sampler, None)[0] for i, c in enumerate(conditions)]
    for speedup in SPEEDUPS:
        schedule = calibrated(file, speedup)
        # On other noise levels the file's own share of full steps need not be that of the dial.
        computed = run(host, demo, conditions[0], FIRST_SEED, steps, sampler, schedule)[1]
        methods = {
            "fewer": (computed, None),
            "prior": (steps, prior("prior", speedup=steps / computed)),
            "calibrated": (steps, schedule),
        }
        found = {
            name: [
                decibels(run(host, demo, c, FIRST_SEED + i, count, sampler, chosen)[0], full[i])
                for i, c in enumerate(conditions)
            ]
            for name, (count, chosen) in methods.items()
        }
        yield speedup, Row(**found)


def prompts(pairs: int) -> Sequence[str]:
    """Prompts that the calibrations have not seen."""
    from bench_compare import prompts as spread
    from calibrate_demo import PROMPTS

    return [text for text in spread(pairs + len(PROMPTS)) if text not in PROMPTS][:pairs]


def run(host: Any, demo: Any, positive: Any, seed: int, steps: int, sampler: str, schedule: Any) -> tuple[Any, int]:
    """A picture, as (1, H, W, 3), and how many steps were computed in full."""
    import torch
    from calibrate_demo import CFG

    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    settings = (seed, steps, CFG, sampler, "normal", positive, demo.encode(""), latent, 1.0)
    with torch.inference_mode():
        node = host.NODE_CLASS_MAPPINGS["FRDiffKSampler"]
        latent, report = node.execute(demo.model, *settings, 1.0, schedule).result
        return demo.vae.decode(latent["samples"]), report.counts["full"]


def decibels(picture: Any, truth: Any) -> float:
    """PSNR, at most 100 dB, as in the benchmark."""
    from bench_quality import PSNR_LIMIT, psnr

    return float(psnr(picture.movedim(-1, 1), truth.movedim(-1, 1)).clamp(max=PSNR_LIMIT))


if __name__ == "__main__":
    sys.exit(main())
