"""Runs that are not one plain pass from noise to picture."""

import importlib

import pytest
import torch
from subjects import custom_schedule, demo_subject, extra_node, node, relative

STEPS = 20


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    return demo_subject(host, request.param)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m_sde", "dpmpp_2m"])
@pytest.mark.parametrize("denoise", [0.3, 0.7])
def test_image_to_image(subject, host, sampler, denoise):
    picture = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(9)) * 0.5
    subject = subject.having(latent={"samples": picture})
    settings = {"steps": STEPS, "sampler": sampler, "denoise": denoise}
    plain = subject.sample(**settings)
    assert torch.equal(subject.frdiff(schedule=custom_schedule(host), **settings)[0], plain)
    latent, report = subject.frdiff(**settings)
    assert report.steps == STEPS and report.counts["full"] < len(report.records)
    assert relative(latent, plain) < relative(subject.sample(**{**settings, "steps": 10}), plain)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_sde", "heun"])
def test_two_halves_with_leftover_noise(subject, host, sampler):
    def run(name, *dial):
        """The first half hands its leftover noise to the second."""
        latent, outputs = subject.latent, []
        for noise, start, end, leftover in (("enable", 0, 10, "enable"), ("disable", 10, STEPS, "disable")):
            with torch.inference_mode():
                latent = node(
                    host, name, subject.model, noise, 1, STEPS, 3.0, sampler, "normal", subject.positive,
                    subject.negative, latent, start, end, leftover, *dial,
                )  # fmt: skip
            outputs.append(latent["samples"])
        return outputs

    plain = run("KSamplerAdvanced")
    full = run("FRDiffKSamplerAdvanced", 2.0, custom_schedule(host))
    assert all(torch.equal(a, b) for a, b in zip(full, plain, strict=True))
    for made, truth in zip(run("FRDiffKSamplerAdvanced", 2.0), plain, strict=True):
        assert relative(made, truth) < 0.25
    if sampler == "euler":
        # Up to the rounding in the host's own scaling between the halves.
        assert torch.allclose(plain[1], subject.sample(steps=STEPS), atol=1e-4)


def custom(subject, model, sigmas, guider=None):
    """SamplerCustomAdvanced with given noise levels."""
    guider = guider or extra_node("custom_sampler", "CFGGuider", model, subject.positive, subject.negative, 3.0)
    noise = extra_node("custom_sampler", "RandomNoise", 1)
    sampler = extra_node("custom_sampler", "KSamplerSelect", "euler")
    with torch.inference_mode():
        return extra_node("custom_sampler", "SamplerCustomAdvanced", noise, guider, sampler, sigmas, subject.latent)[
            "samples"
        ]


def levels(subject):
    top = float(extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", 1, 1.0)[0])
    return {
        "few": torch.tensor([1.0, 0.6, 0.3, 0.0]) * top,
        "repeated": torch.tensor([1.0, 0.8, 0.8, 0.6, 0.6, 0.4, 0.2, 0.1, 0.0]) * top,
        "up again": torch.tensor([1.0, 0.7, 0.4, 0.6, 0.3, 0.1, 0.0]) * top,
        "reversed": torch.tensor([0.05, 0.2, 0.4, 0.7, 1.0]) * top,
        "not to the end": torch.linspace(1.0, 0.2, 15) * top,
        "none": torch.tensor([]),
        "one": torch.tensor([1.0]) * top,
    }


@pytest.mark.parametrize("name", ["few", "repeated", "up again", "reversed", "not to the end", "none", "one"])
def test_custom_noise_levels(subject, host, name):
    sigmas = levels(subject)[name]
    plain = custom(subject, subject.model, sigmas)
    assert torch.equal(custom(subject, subject.patched(schedule=custom_schedule(host)).model, sigmas), plain)
    for schedule in (None, custom_schedule(host, interval=2, mixing=False)):
        latent = custom(subject, subject.patched(schedule=schedule).model, sigmas)
        assert torch.isfinite(latent).all()
        assert torch.equal(latent, plain) or name not in ("up again", "reversed", "none", "one")


def test_a_guider_that_calls_the_model_itself_decides_once_for_each_noise_level(subject, host):
    import comfy.samplers

    class Own(comfy.samplers.CFGGuider):
        """Past the host's own evaluation, one condition at a time, as guiders of other packs do it."""

        def __call__(self, x, timestep, model_options={}, seed=None):  # noqa: B006
            positive, negative = (
                comfy.samplers.calc_cond_batch(self.inner_model, [self.conds[name]], x, timestep, model_options)[0]
                for name in ("positive", "negative")
            )
            return negative + (positive - negative) * 3.0

    def run(model):
        guider = Own(model)
        guider.set_conds(subject.positive, subject.negative)
        sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", STEPS, 1.0)
        return custom(subject, model, sigmas, guider)

    plain = run(subject.model)
    with subject.counting() as computed:
        latent = run(subject.patched().model)
    assert len(computed) == 2 * (STEPS // 2) and relative(latent, plain) < 0.1


def test_guidance_that_is_turned_off_on_the_way(subject, host):
    import comfy.samplers

    class HalfGuided(comfy.samplers.CFGGuider):
        """Without the negative for the second half, as CFG-cutting nodes do it."""

        def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006
            self.calls = getattr(self, "calls", 0) + 1
            self.set_cfg(3.0 if self.calls <= STEPS // 2 else 1.0)
            return super().predict_noise(x, timestep, model_options, seed)

    def run(model):
        guider = HalfGuided(model)
        guider.set_conds(subject.positive, subject.negative)
        sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", STEPS, 1.0)
        return custom(subject, model, sigmas, guider)

    plain = run(subject.model)
    assert torch.equal(run(subject.patched(schedule=custom_schedule(host)).model), plain)
    with subject.counting() as computed:
        latent = run(subject.patched().model)
    assert len(computed) < STEPS and relative(latent, plain) < 0.25


def test_a_model_that_goes_from_picture_to_picture_has_flow_times(pack, subject):
    """Its sampling starts from data and adds no noise, which says nothing about its noise levels."""
    import comfy.model_sampling

    class FromPicture(comfy.model_sampling.CONST):
        def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
            return latent_image

    model = subject.model.clone()
    model.add_object_patch("model_sampling", FromPicture())
    level_of = importlib.import_module(f"{pack.__name__}.nodes.host.noise_levels").noise_levels_of(model)
    assert [level_of(sigma).time for sigma in (1.0, 0.25, 0.0)] == [1.0, 0.25, 0.0]
