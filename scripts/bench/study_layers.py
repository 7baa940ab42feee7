"""Whether repeated layers would serve better than forecasts where noise is added (study.py). A module of the pack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from bench.usual_settings import SETTINGS, groups
from setup.in_process import DemoModel

from ...frdiff.forecasting.rules import REUSE
from ...frdiff.planning.plan import Plan, StepKind
from ...frdiff.planning.prior import DIAL_OPTIONS, PriorSchedule
from ...frdiff.planning.run import SamplingRun
from ..calibrate.held_out import HeldOut
from .usual import case_of

NAMES = ("dit euler_ancestral simple 20 cfg 4", "dit er_sde simple 30 cfg 4", "dit dpmpp_2m_sde simple 28 cfg 5")
SPEEDUP, PAIRS, DRAW = 2.0, 8, "choose14"
REPEATING = replace(DIAL_OPTIONS, forecaster=REUSE, stochastic_forecaster=REUSE, repair=0.0, measures=False)


@dataclass(frozen=True)
class RepeatedLayers(PriorSchedule):
    """The dial's keyframes, or `even` ones, and between them steps in which every layer gives what it gave there."""

    even: bool = False

    def plan(self, run: SamplingRun) -> Plan:
        found = super().plan(run)
        count = len(found.keyframes)
        keyframes = {i * run.length // count for i in range(count)} if self.even else found.keyframes
        return Plan.with_keyframes(keyframes, run.length, StepKind.PARTIAL, run.step_of_evaluation)


def layers(host: Any) -> None:
    """Mean PSNR of each way; what the layers cost is not counted."""
    layered = replace(DIAL_OPTIONS, branches=True)
    ways = {
        "dial": PriorSchedule("dial", speedup=SPEEDUP),
        "outputs": PriorSchedule("outputs", REPEATING, speedup=SPEEDUP),
        "layers": RepeatedLayers("layers", layered, speedup=SPEEDUP),
        "layers, even": RepeatedLayers("even", layered, speedup=SPEEDUP, even=True),
    }
    print(f"{'':<40} {'fewer':>12}", *(f"{name:>12}" for name in ways))
    for setting in [each for each in SETTINGS if str(each) in NAMES]:
        demo = DemoModel(host, setting.model)
        runs = HeldOut(demo, case_of(host, {}, demo, setting), groups(DRAW, PAIRS))
        found = [runs.fewer(SPEEDUP), *(runs.levels(way) for way in ways.values())]
        print(f"{setting!s:<40}", *(f"{mean(each):12.1f}" for each in found), flush=True)
