"""What the shipped schedule files are worth, measured. Loaded as a module of the pack, as all that imports it here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from bench.compare import prompts as spread
from bench.quality import PSNR_LIMIT, psnr
from calibrate.shipped_files import CFG, PROMPTS
from setup.in_process import DemoModel

from ...frdiff.planning.prior import PriorSchedule
from ...frdiff.planning.schedule import Schedule
from ...frdiff.schedule_files.calibrated import calibrated
from ...frdiff.schedule_files.store import read_schedule

SPEEDUPS = (2.0, 3.0)
FIRST_SEED = 7000


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


def measured(demo: DemoModel, path: Path, steps: int, sampler: str, pairs: int) -> Iterator[tuple[float, Row]]:
    """A row for each speed-up."""
    file = read_schedule(path)
    texts = prompts(pairs)
    full = [run(demo, text, FIRST_SEED + i, steps, sampler, None)[0] for i, text in enumerate(texts)]
    for speedup in SPEEDUPS:
        schedule = calibrated(file, speedup)
        # On other noise levels the file's own share of full steps need not be that of the dial.
        computed = run(demo, texts[0], FIRST_SEED, steps, sampler, schedule)[1]
        methods = {
            "fewer": (computed, None),
            "prior": (steps, PriorSchedule("prior", speedup=steps / computed)),
            "calibrated": (steps, schedule),
        }
        found = {
            name: [
                decibels(run(demo, text, FIRST_SEED + i, count, sampler, chosen)[0], full[i])
                for i, text in enumerate(texts)
            ]
            for name, (count, chosen) in methods.items()
        }
        yield speedup, Row(**found)


def prompts(pairs: int) -> Sequence[str]:
    """Prompts that the calibrations have not seen."""
    return [text for text in spread(pairs + len(PROMPTS)) if text not in PROMPTS][:pairs]


def run(
    demo: DemoModel, prompt: str, seed: int, steps: int, sampler: str, schedule: Schedule | None
) -> tuple[torch.Tensor, int]:
    """A picture, as (1, H, W, 3), and how many steps were computed in full."""
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    settings = (seed, steps, CFG, sampler, "normal", demo.encode(prompt), demo.encode(""), latent, 1.0)
    with torch.inference_mode():
        node = demo.host.NODE_CLASS_MAPPINGS["FRDiffKSampler"]
        latent, report = node.execute(demo.model, *settings, 1.0, schedule).result
        return demo.vae.decode(latent["samples"]), report.counts["full"]


def decibels(picture: torch.Tensor, truth: torch.Tensor) -> float:
    """PSNR, at most 100 dB, as in the benchmark; both pictures are (1, H, W, 3)."""
    return float(psnr(picture.movedim(-1, 1), truth.movedim(-1, 1)).clamp(max=PSNR_LIMIT))
