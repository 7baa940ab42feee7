"""Networks that keep something from call to call: what moves on is refused, what is only looked up again is not."""

import pytest
import tiny_models
import torch
from subjects import extra_node
from tiny_host import Counting, flat, load
from tiny_table import WAN, _wan

STEPS = 9


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


def with_pose_cache(tiny):
    """The host's cache of the pose's branch behind the model."""
    tiny.model = extra_node("wan", "WanAnimate2Cache", tiny.model, "cpu")
    return tiny


CACHES = {"hidream_o1": lambda tiny: tiny, "wan_animate2": with_pose_cache}


@pytest.mark.parametrize("name", CACHES)
@pytest.mark.parametrize("preset", [None, "paper M=2"])
def test_what_a_network_looks_up_again_is_no_state(host, name, preset):
    """Keys and values of the prompt, the pose's branch: the same whoever fills them, and at whichever step."""
    tiny = CACHES[name](load(host, name))
    made = preset and host.NODE_CLASS_MAPPINGS["FRDiffSchedule"].execute(preset, 2, False, 1, 0, 4096.0).result[0]
    with Counting([tiny.network]) as counting:
        empty, report = tiny.frdiff(made, steps=12)
    assert report.counts["skip"] and counting.counts == [12 - report.counts["skip"]]
    assert "own-state" not in [reason.code for reason in report.reasons]
    plain = flat(tiny.sample(steps=12))
    filled, _ = tiny.frdiff(made, steps=12)
    torch.testing.assert_close(flat(filled), flat(empty), rtol=1e-3, atol=1e-3 * float(plain.std()))
    assert torch.equal(flat(tiny.sample(steps=12)), plain)
