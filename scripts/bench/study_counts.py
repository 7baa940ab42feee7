"""Whether a slower dial is ever the worse picture: every count of computed steps (study.py). A module of the pack."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch

from bench.methods import fewer_steps
from bench.quality import PSNR_LIMIT, psnr
from bench.usual_settings import SETTINGS, Setting, groups
from setup.in_process import DemoModel

from ...frdiff.planning.presets import for_speedup
from ...frdiff.planning.prior import FEWEST
from .usual import case_of, scheduled, together

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
    demo = DemoModel(host, setting.model)
    case, found = case_of(host, {}, demo, setting), {}
    for group in groups(DRAW, PAIRS):
        positive = together(demo, group.prompts)
        latent = case.latent.expand(len(group.prompts), -1, -1, -1)

        def pictures(make: Any, positive: Any = positive, latent: Any = latent, seed: int = group.seed) -> torch.Tensor:
            with torch.inference_mode():
                made = make(replace(case, latent=latent))(seed, positive)[0]
                return demo.vae.decode(made).movedim(-1, 1).nan_to_num()

        plain = pictures(fewer_steps(1))
        for count in range(FEWEST, setting.steps):
            level = psnr(pictures(scheduled(for_speedup(setting.steps / count))), plain).clamp(max=PSNR_LIMIT)
            found.setdefault(count, []).append(level)
    return {count: torch.cat(levels) for count, levels in found.items()}
