"""Whatever passes by the engine, of any type and shape, nothing of ours raises into the run or changes it."""

import pytest
import torch
from subjects import demo_subject, extra_node, relative

STEPS = 12


@pytest.fixture(scope="module")
def subject(host):
    return demo_subject(host, "unet")


def reading(read, levels=lambda sigma, x: sigma * x.new_ones([len(x)])):
    """Euler's method, which no rehearsal knows, with a guider that returns something which `read` understands."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for i in range(len(sigmas) - 1):
            denoised = read(model(x, levels(sigmas[i], x), **extra_args))
            x = denoised + (x - denoised) * sigmas[i + 1] / sigmas[i]
        return x

    return sample


def unchanged(x):
    return x


def guided(subject, model, change, levels=None):
    """A guider of another pack's, whose evaluations return what `change` makes of them."""
    import comfy.samplers

    class Strange(comfy.samplers.CFGGuider):
        def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006
            timestep = x.new_full([len(x)], levels(timestep)) if levels else timestep
            return change(super().predict_noise(x, timestep, model_options, seed))

    guider = Strange(model)
    guider.set_conds(subject.positive, subject.negative)
    guider.set_cfg(3.0)
    return guider


def run(subject, model, sampler, change, levels=None):
    import comfy.samplers

    sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", STEPS, 1.0)
    noise = extra_node("custom_sampler", "RandomNoise", 1)
    guider = guided(subject, model, change, levels)
    with torch.inference_mode():
        return extra_node(
            "custom_sampler", "SamplerCustomAdvanced", noise, guider, comfy.samplers.KSAMPLER(sampler), sigmas,
            subject.latent,
        )["samples"]  # fmt: skip


def attached(subject, pack_module):
    """The model at 2.0x, and the list that gets its reports."""
    reports = []
    return pack_module.attach(subject.model, pack_module.chosen(2.0, None), reports.append), reports


WRAPPED = {
    "a tuple": (lambda x: (x, None), lambda made: made[0]),
    "a dictionary": (lambda x: {"x0": x}, lambda made: made["x0"]),
    "a list of pictures": (lambda x: list(x), lambda made: torch.stack(made)),
    "an object": (lambda x: lambda: x, lambda made: made()),
    "complex": (lambda x: x.to(torch.complex64), lambda made: made.real),
    "sparse": (lambda x: x.to_sparse(), lambda made: made.to_dense()),
    "a number first": (lambda x: (1.0, x), lambda made: made[1]),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_guider_may_return_anything(subject, attaching, name):
    change, read = WRAPPED[name]
    plain = run(subject, subject.model, reading(read), change)
    model, reports = attached(subject, attaching)
    latent = run(subject, model, reading(read), change)
    (report,) = reports
    assert report.finished and report.counts["skip"] > 0
    assert "unwatched" in [reason.code for reason in report.reasons]
    assert relative(latent, plain) < 0.2


LEVELS = {
    "a number": lambda sigma, x: float(sigma),
    "no dimension": lambda sigma, x: sigma.reshape(()),
    "a dictionary": lambda sigma, x: {"sigma": float(sigma)},
}


@pytest.mark.parametrize("name", LEVELS)
def test_a_noise_level_may_be_anything(subject, attaching, name):
    def level(timestep):
        return float(timestep["sigma"] if isinstance(timestep, dict) else timestep)

    sampler = reading(unchanged, LEVELS[name])
    plain = run(subject, subject.model, sampler, unchanged, level)
    model, reports = attached(subject, attaching)
    latent = run(subject, model, sampler, unchanged, level)
    assert reports[0].counts["skip"] > 0 and relative(latent, plain) < 0.2


def test_what_the_guider_raises_is_the_runs_own(subject, attaching):
    from comfy.model_management import InterruptProcessingException

    for error in (InterruptProcessingException(), AttributeError("theirs"), TypeError("theirs")):

        def change(x, error=error):
            raise error

        model, reports = attached(subject, attaching)
        with pytest.raises(type(error)) as caught:
            run(subject, model, reading(lambda made: made), change)
        assert caught.value is error and not reports[0].finished and len(reports[0].records) == 1


def test_a_masked_latent_that_is_cut_on_the_way(subject, attaching):
    """The mask no longer lies over the latent: watching it would be an error of ours."""
    import comfy.samplers
    from subjects import euler_resizing

    def masked(model):
        latent = {**subject.latent, "noise_mask": torch.ones(1, 1, 128, 128)}
        sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", STEPS, 1.0)
        guider = extra_node("custom_sampler", "CFGGuider", model, subject.positive, subject.negative, 3.0)
        sampler = comfy.samplers.KSAMPLER(lambda model, *args, **kwargs: euler_resizing(5)(model.inner_model, *args, **{
            **kwargs, "extra_args": {k: v for k, v in kwargs["extra_args"].items() if k != "denoise_mask"}}))
        with torch.inference_mode():
            return extra_node("custom_sampler", "SamplerCustomAdvanced", extra_node("custom_sampler", "RandomNoise", 1),
                              guider, sampler, sigmas, latent)["samples"]  # fmt: skip

    plain = masked(subject.model)
    model, reports = attached(subject, attaching)
    latent = masked(model)
    assert latent.shape == plain.shape and torch.isfinite(latent).all()
    assert "unwatched" in [reason.code for reason in reports[0].reasons]


def test_a_network_that_returns_more_than_tensors_is_computed(attaching):
    network, sigmas = torch.nn.Identity(), [8.0, 6.0, 4.0, 3.0, 2.0, 1.5, 1.0, 0.5, 0.0]
    session = attaching.Session(attaching.chosen(2.0, None), attaching.RunFacts(sigmas))
    for sigma in sigmas[:-1]:
        session.begin_evaluation(sigma)
        answer = session.call(
            attaching.NetworkCall("key", network, lambda sigma=sigma: network((torch.ones(1, 4) * sigma, "and a word")))
        )
        assert answer[1] == "and a word" and bool((answer[0] == sigma).all())
    report = session.close()
    assert report.counts["full"] == 8
    assert {reason.code for reason in report.reasons} - {"unsteady-times"} == {"no-forecast"}
