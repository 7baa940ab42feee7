"""What other caches were measured to get wrong: after a change of size, with two calls a step, on some models."""

import pytest
import torch
from subjects import custom_schedule, demo_subject, euler_resizing, extra_node, relative
from tiny_host import Counting, load

STEPS = 20
RESIZED_AT = 8


@pytest.fixture(scope="module", params=["unet", "dit"])
def subject(host, request):
    return demo_subject(host, request.param)


def computed_steps(subject, patched, cut_at):
    """At which steps the network computed."""
    import comfy.sample
    from comfy.samplers import KSAMPLER

    seen, network = [], subject.network
    sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "normal", STEPS, 1.0)
    noise = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    layer = network.out[2] if hasattr(network, "out") else network.final_layer.linear
    handle = layer.register_forward_pre_hook(lambda *_: seen.append(steps[-1]))
    steps = []

    def numbered(model, *args, **kwargs):
        def counted(*inner, **named):
            steps.append(len(steps))
            return model(*inner, **named)

        return euler_resizing(cut_at)(counted, *args, **kwargs)

    try:
        with torch.inference_mode():
            latent = comfy.sample.sample_custom(
                patched.model, noise, 3.0, KSAMPLER(numbered), sigmas, subject.positive, subject.negative,
                torch.zeros_like(noise), disable_pbar=True,
            )  # fmt: skip
    finally:
        handle.remove()
    assert torch.isfinite(latent).all()
    return seen


@pytest.mark.parametrize("preset", [None, "paper M=2"])
def test_after_a_change_of_size_it_goes_on_as_planned(subject, host, preset):
    patched = subject.patched(schedule=preset and custom_schedule(host, preset))
    usual, cut = (computed_steps(subject, patched, at) for at in (None, RESIZED_AT))
    # Nothing is known of the new size, so it is computed; then the plan holds again.
    assert len(usual) < STEPS
    assert [step for step in cut if step != RESIZED_AT] == [step for step in usual if step != RESIZED_AT]
    assert RESIZED_AT in cut


@pytest.mark.parametrize("sampler", ["heun", "dpm_2", "dpmpp_sde", "dpmpp_2s_ancestral"])
def test_with_two_calls_a_step_the_numbers_are_true(subject, sampler):
    with subject.counting() as every:
        subject.sample(steps=STEPS, sampler=sampler)
    with subject.counting() as computed:
        _, report = subject.frdiff(steps=STEPS, sampler=sampler)
    counted = sum(record.calls for record in report.records)
    assert counted == len(computed) and len(report.records) == len(every) > STEPS
    assert len(computed) < len(every) and report.counts["full"] + report.counts["skip"] == len(every)
    assert report.speedup is None or report.speedup > 1


SILENT = ["sd3", "pixart", "cascade_c", "cascade_b", "hunyuan_dit", "mochi", "omnigen2", "stable_audio"]


@pytest.mark.parametrize("name", SILENT)
def test_on_models_where_others_do_nothing_in_silence(host, name):
    tiny = load(host, name)
    with Counting([tiny.network]) as counting:
        plain = tiny.sample(steps=STEPS)
        every, counting.counts = counting.counts, [0]
        latent, report = tiny.frdiff(steps=STEPS)
    assert report.counts["skip"] >= 0.4 * STEPS and counting.counts[0] <= 0.6 * every[0]
    assert torch.isfinite(latent).all() and relative(latent, plain) < 1


def test_the_slot_for_one_wrapper_is_left_to_others(subject, host):
    """The last pack that sets the model's function wrapper wins: it is not taken, and who has it is called."""
    assert "model_function_wrapper" not in subject.patched().model.model_options
    for before in (True, False):
        called, made = [], subject if before else subject.patched()

        def wrapper(apply, call, called=called):
            called.append(call["cond_or_uncond"])
            return apply(call["input"], call["timestep"], **call["c"])

        model = made.model.clone()
        model.set_model_unet_function_wrapper(wrapper)
        wrapped = subject.having(model=model).patched() if before else subject.having(model=model)
        with subject.counting() as computed:
            latent = wrapped.sample(steps=STEPS)
        assert len(called) == STEPS > len(computed)
        assert torch.equal(latent, subject.patched().sample(steps=STEPS))
