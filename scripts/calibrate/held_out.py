"""Calibrate and hold out (worth.py). Loaded as a module of the pack, as all that imports the pack here."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, median
from typing import Any

import torch

from bench.methods import Case, fewer_steps
from bench.quality import PSNR_LIMIT, psnr
from bench.usual_settings import BATCH, Group, groups
from calibrate.worth import DIALS, DRAWS, SETTINGS
from demo.setting import Setting
from setup.in_process import DemoModel

from ...frdiff.auto_fr.calibrate import EFFORTS, Calibration
from ...frdiff.planning.schedule import Schedule
from ...frdiff.schedule_files.calibrated import calibrated
from ...frdiff.schedule_files.choice import Wish, front
from ...frdiff.schedule_files.model import BELOW, NEAR, ScheduleFile, quantile
from ...nodes.calibration_request import HostRuns, Request
from ..bench.usual import case_of, scheduled, together
from ..bench.video import drawn, shifted

# Mean PSNR in dB, and the worst pair; then what was said by error, and what was held out.
HEAD_MEANS = (
    "| setting | speed | fewer steps | FRDiff | worst: fewer | FRDiff |",
    "|---|---|---|---|---|---|",
)
HEAD_WORDS = (
    "| setting | speed | said | median | nine of ten above | worst | kept |",
    "|---|---|---|---|---|---|---|",
)
METHODS = ("fewer", "ours")
VIDEO, SHIFT = "video", 8.0


def table(host: Any, arguments: argparse.Namespace) -> int:
    """Measure each setting, print its rows and write all figures as JSON; returns the exit code."""
    found: list[dict[str, Any]] = []
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    for text in SETTINGS:
        model, sampler, scheduler, steps, cfg = text.split()
        if not text.startswith(arguments.only):
            continue
        setting = Setting(model, sampler, scheduler, int(steps), float(cfg))
        found.append({"setting": str(setting), **measure(host, setting, arguments.effort, arguments.pairs)})
        print("\n".join([*means(found[-1]), *words(found[-1])]), flush=True)
        arguments.json.write_text(json.dumps(found, indent=1), encoding="ascii")
    for head, rows in ((HEAD_MEANS, means), (HEAD_WORDS, words)):
        print("", *head, *(row for each in found for row in rows(each)), sep="\n")
    return 0


def measure(host: Any, setting: Setting, effort: str, pairs: int) -> dict[str, Any]:
    """Levels of each held-out pair: at each dial, and of each point by error."""
    demo = DemoModel(host, setting.model)
    case = case_of(host, {}, demo, setting)
    if setting.model == VIDEO:
        case = replace(case, model=shifted(host, demo.model, SHIFT))
    file = calibration(demo, case, setting, effort)
    runs = HeldOut(demo, case, _groups(setting, DRAWS[1], pairs))
    dials = {
        f"{dial:g}": {"fewer": runs.fewer(dial), "ours": runs.levels(calibrated(file, Wish(dial)))} for dial in DIALS
    }
    said = [
        {"said": point.said, "alike": point.is_alike, "floor": point.floor, "speedup": point.speedup,
         "reached": point.reached, "levels": runs.levels(calibrated(file, Wish(point.speedup)))}
        for point in front(file.points)
    ]  # fmt: skip
    return {"dials": dials, "by_error": said}


def _groups(setting: Setting, draw: str, pairs: int) -> list[Group]:
    """Pictures or clips of a draw in batches of one size."""
    return drawn(draw, pairs, BATCH) if setting.model == VIDEO else groups(draw, pairs)


def calibration(demo: DemoModel, case: Case, setting: Setting, effort: str) -> ScheduleFile:
    """What FRDiff Auto-FR makes of a setting, with prompts of a draw of its own, in batches as what is held out."""
    asked = EFFORTS[effort]
    first, *others = [together(demo, group.prompts) for group in _groups(setting, DRAWS[0], asked.pictures)]
    batch = min(BATCH, asked.pictures)
    request = Request(
        case.model, first, case.negative, {"samples": case.of(batch).latent}, 1,
        setting.steps, setting.cfg, setting.sampler, setting.scheduler, effort, "worth", 2.0,
        **{f"positive_{number}": more for number, more in enumerate(others, 2)}, vae=demo.vae,
    )  # fmt: skip
    effort_in_batches = replace(asked, pictures=asked.pictures // batch)
    with torch.inference_mode():
        runs = HostRuns(request, lambda *_: None)
        return Calibration(runs, effort_in_batches, request.new_file("worth"), lambda *_: None).run(lambda _: None)


class HeldOut:
    """Runs of pairs that nothing was calibrated on."""

    def __init__(self, demo: DemoModel, case: Case, held_out: Sequence[Group]) -> None:
        self._demo, self._case, self._groups = demo, case, held_out
        self._plain = [self._pictures(fewer_steps(1), group) for group in held_out]
        self._known: dict[Schedule, list[float]] = {}

    def levels(self, schedule: Schedule) -> list[float]:
        """PSNR in dB of each pair with a schedule; the same one, whatever it is called, is run once."""
        schedule = replace(schedule, name="")
        if schedule not in self._known:
            self._known[schedule] = self._compared(scheduled(schedule))
        return self._known[schedule]

    def fewer(self, dial: float) -> list[float]:
        """The same of plain runs of as many steps, or the part of one more."""
        return self._compared(fewer_steps(math.ceil(self._case.steps / dial) / self._case.steps))

    def _compared(self, make: Any) -> list[float]:
        pairs = zip(self._groups, self._plain, strict=True)
        found = [psnr(self._pictures(make, group), plain).clamp(max=PSNR_LIMIT) for group, plain in pairs]
        return torch.cat(found).tolist()

    def _pictures(self, make: Any, group: Group) -> torch.Tensor:
        case = self._case.of(len(group.prompts))
        with torch.inference_mode():
            latent = make(case)(group.seed, together(self._demo, group.prompts))[0]
            return self._demo.vae.decode(latent).movedim(-1, 1).nan_to_num()


def runs_of(host: Any, setting: Setting, draw: str, pairs: int) -> HeldOut:
    """Runs of pairs of a draw at a setting."""
    demo = DemoModel(host, setting.model)
    return HeldOut(demo, case_of(host, {}, demo, setting), groups(draw, pairs))


def means(found: dict[str, Any]) -> list[str]:
    """The rows of a setting by speed."""
    return [
        f"| {found['setting']} | {dial}x | {' | '.join(f'{mean(each[name]):.2f}' for name in METHODS)} | "
        f"{' | '.join(f'{min(each[name]):.1f}' for name in METHODS)} |"
        for dial, each in found["dials"].items()
    ]


def words(found: dict[str, Any]) -> list[str]:
    """The rows of a setting by error."""
    rows: list[str] = []
    for each in found["by_error"]:
        middle, low = median(each["levels"]), quantile(each["levels"], 0.1)
        said, floor = each["said"], each["floor"]
        # Of a few pictures a number is said that tells nothing of others.
        if each["alike"] or floor is None:
            told, kept = f"{said:.1f}", abs(middle - said) <= NEAR and low >= said - BELOW
        else:
            told, kept = f"nine of ten above {floor:.1f}", low >= floor
        rows.append(
            f"| {found['setting']} | {each['reached']:.1f}x | {told} | {middle:.1f} | {low:.1f} | "
            f"{min(each['levels']):.1f} | {['no', 'yes'][kept]} |"
        )
    return rows
