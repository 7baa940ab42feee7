"""Whether a slower dial is ever the worse picture: every count of computed steps (study.py). A module of the pack."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from bench.usual_settings import SETTINGS, Setting

from ...frdiff.planning.prior import FEWEST, PriorSchedule
from ..calibrate.held_out import runs_of

NAMES = (
    "unet dpmpp_2m karras 20 cfg 7", "unet euler simple 20 cfg 4", "unet er_sde simple 30 cfg 4",
    "dit euler simple 20 cfg 4", "dit er_sde simple 30 cfg 4", "rough euler simple 20 cfg 5",
    "rough dpmpp_2m simple 20 cfg 5",
)  # fmt: skip
PAIRS, DRAW = 8, "choose12"


def counts(host: Any) -> None:
    """PSNR at each count from the fewest to all but one, and where one more computed step is no better."""
    for setting in [each for each in SETTINGS if str(each) in NAMES]:
        levels = _levels(host, setting)
        print(setting, " ".join(f"{count}:{level.mean():.1f}" for count, level in levels.items()), flush=True)
        for (less, before), (more, after) in pairwise(levels.items()):
            change = float((after - before).mean())
            if change < 0:
                share = float((after < before).float().mean())
                print(f"    {more} is {-change:.2f} dB below {less}, in {share:.0%} of pairs", flush=True)


def _levels(host: Any, setting: Setting) -> dict[int, torch.Tensor]:
    """By count, the PSNR of each pair (P) to the uncached picture."""
    runs = runs_of(host, setting, DRAW, PAIRS)
    counts = range(FEWEST, setting.steps)
    return {count: torch.tensor(runs.levels(PriorSchedule("dial", speedup=setting.steps / count))) for count in counts}
