"""The newest core's autoregressive video sampler: its network moves a cache on, so that every call is needed."""

import pytest
import tiny_models
import torch
from subjects import extra_node
from tiny_host import Counting
from tiny_table import WAN, _wan

STEPS = 6


@pytest.fixture
def causal(host, monkeypatch):
    """A tiny autoregressive video model; an older host skips the test by name."""
    monkeypatch.setitem(tiny_models.MODELS, "causal", _wan("WAN21_CausalAR", WAN))
    try:
        return tiny_models.build("causal")
    except tiny_models.Absent as absent:
        pytest.skip(str(absent))


def sampled(causal, model, frames, steps=STEPS):
    import comfy.samplers

    _, latent, positive, _ = causal
    guider = extra_node("custom_sampler", "BasicGuider", model, positive)
    noise = extra_node("custom_sampler", "RandomNoise", 1)
    sampler = comfy.samplers.ksampler("ar_video", {"num_frame_per_block": frames})
    sigmas = extra_node("custom_sampler", "BasicScheduler", model, "normal", steps, 1.0)
    with torch.inference_mode():
        return extra_node(
            "custom_sampler", "SamplerCustomAdvanced", noise, guider, sampler, sigmas, {"samples": latent}
        )["samples"]


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("preset", [None, "paper M=2", "reuse only M=2"])
def test_an_autoregressive_video_is_the_plain_one(host, causal, preset, frames):
    model = causal[0]
    made = preset and host.NODE_CLASS_MAPPINGS["FRDiffSchedule"].execute(preset, 2, False, 1, 0, 4096.0).result[0]
    plain = sampled(causal, model, frames)
    patched = host.NODE_CLASS_MAPPINGS["FRDiffModelPatcher"].execute(model, 2.0, made).result[0]
    with Counting([model.model.diffusion_model.blocks[0]]) as entered:
        latent = sampled(causal, patched, frames)
    assert torch.equal(latent, plain) and torch.isfinite(plain).all()
    assert entered.counts[0] >= STEPS * (causal[1].shape[2] // frames)


def test_the_report_says_so(pack, causal):
    import importlib

    attaching, reports = importlib.import_module(f"{pack.__name__}.nodes.host.attach"), []
    sampled(causal, attaching.attach(causal[0], attaching.chosen(2.0, None), reports.append), 1)
    codes = [reason.code for reason in reports[0].reasons]
    assert "own-state" in codes and reports[0].counts["full"] == len(reports[0].records)
