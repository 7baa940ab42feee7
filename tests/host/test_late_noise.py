"""Noise that sets in late: what is left is planned from what really was computed, and the dial holds."""

import importlib

import pytest
import torch
from subjects import demo_subject, extra_node, relative

STEPS = 20


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    return demo_subject(host, request.param)


def late(start):
    """Euler's method that adds noise from a step on; on a flow model as well as on others, and unknown to the host."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        generator = torch.Generator().manual_seed(3)
        for i in range(len(sigmas) - 1):
            denoised = model(x, sigmas[i] * x.new_ones([len(x)]), **extra_args)
            down = sigmas[i + 1] * (0.7 if i >= start else 1.0)
            x = denoised + (x - denoised) * down / sigmas[i]
            if i >= start:
                x = x + torch.randn(x.shape, generator=generator) * (sigmas[i + 1] ** 2 - down**2) ** 0.5
        return x

    return sample


def run(subject, model, start, steps=STEPS):
    import comfy.samplers

    sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", steps, 1.0)
    guider = extra_node("custom_sampler", "CFGGuider", model, subject.positive, subject.negative, 3.0)
    noise, sampler = extra_node("custom_sampler", "RandomNoise", 1), comfy.samplers.KSAMPLER(late(start))
    with torch.inference_mode():
        return extra_node(
            "custom_sampler", "SamplerCustomAdvanced", noise, guider, sampler, sigmas, subject.latent
        )["samples"]


@pytest.mark.parametrize("speedup", [2.0, 3.0])
@pytest.mark.parametrize("start", [1, 5, 9, 14])
def test_the_dial_holds_however_late_noise_comes(subject, pack, start, speedup):
    attaching, reports = importlib.import_module(f"{pack.__name__}.nodes.host.attach"), []
    plain = run(subject, subject.model, start)
    model = attaching.attach(subject.model, attaching.chosen(speedup, None), reports.append)
    latent, (report,) = run(subject, model, start), reports
    kinds = "".join({"full": "F", "skip": "-"}[record.kind] for record in report.records)
    assert report.stochastic and abs(report.counts["full"] - STEPS / speedup) <= 1, kinds
    # Not one long row of skips at the end.
    assert max(map(len, kinds.split("F"))) <= 2 * speedup, kinds
    assert not {"speed-not-reached", "nothing-to-skip"} & {reason.code for reason in report.reasons}
    assert torch.isfinite(latent).all() and relative(latent, plain) < 1.0
