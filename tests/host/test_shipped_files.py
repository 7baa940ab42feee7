"""What the shipped calibrations are worth away from where they were made, on prompts and seeds they have not seen."""

from statistics import mean

import pytest

from setup import ROOT
from setup.in_process import DemoModel, pack_module

SCHEDULES = ROOT / "schedules"
PAIRS = 4
# Decibels: of equal schedules nothing but rounding may differ.
ROUNDING = 0.01


@pytest.mark.parametrize(("steps", "sampler"), [(28, "euler"), (50, "dpmpp_2m")])
@pytest.mark.parametrize("model", ["unet", "dit"])
def test_a_file_made_for_50_steps_of_euler_is_not_below_the_prior_elsewhere(host, model, steps, sampler):
    demo = DemoModel(host, model)
    path = SCHEDULES / f"demo_{model}_50.safetensors"
    worth = pack_module(host, "scripts.calibrate.worth")
    rows = dict(worth.measured(demo, path, steps, sampler, PAIRS))
    assert list(rows) == [2.0, 3.0]
    for row in rows.values():
        assert len(row.calibrated) == PAIRS
        assert mean(row.calibrated) >= mean(row.prior) - ROUNDING
        assert mean(row.calibrated) > mean(row.fewer)
