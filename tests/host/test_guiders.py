"""With every guider of the host, which decides what the network is asked and what is made of its answers."""

import pytest
import torch
from subjects import custom_schedule, demo_subject, extra_node, relative
from tiny_host import Counting, load

STEPS = 16
UNET, DIT, SOUND = "unet", "dit", "ltxav"


@pytest.fixture(scope="module")
def subjects(host):
    """Each model by name, made when it is first asked for."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = load(host, name) if name == SOUND else demo_subject(host, name)
        return made[name]

    return get


def basic(model, subject):
    return extra_node("custom_sampler", "BasicGuider", model, subject.positive)


def cfg(model, subject):
    return extra_node("custom_sampler", "CFGGuider", model, subject.positive, subject.negative, 3.0)


def middle(subject):
    return [[tensor * 0.8, options] for tensor, options in subject.positive]


def dual_cfg(model, subject):
    conditions = subject.positive, middle(subject), subject.negative
    return extra_node("custom_sampler", "DualCFGGuider", model, *conditions, 3.0, 2.0, "regular")


def perp_neg(model, subject):
    return extra_node("perpneg", "PerpNegGuider", model, subject.positive, middle(subject), subject.negative, 3.0, 1.0)


def picture_and_sound(model, subject):
    return extra_node("lt", "LTXVDualCFGGuider", model, subject.positive, subject.negative, 3.0, 5.0)


def run(subject, guider, sampler="dpmpp_2m"):
    """The parts of the latent that the host's advanced sampler makes."""
    sigmas = extra_node("custom_sampler", "BasicScheduler", subject.model, "karras", STEPS, 1.0)
    noise = extra_node("custom_sampler", "RandomNoise", 1)
    chosen = extra_node("custom_sampler", "KSamplerSelect", sampler)
    latent = subject.latent if isinstance(subject.latent, dict) else {"samples": subject.latent}
    with torch.inference_mode():
        made = extra_node("custom_sampler", "SamplerCustomAdvanced", noise, guider, chosen, sigmas, latent)["samples"]
    return made.unbind() if made.is_nested else [made]


def patched(subject, schedule=None):
    return subject.host.NODE_CLASS_MAPPINGS["FRDiffModelPatcher"].execute(subject.model, 2.0, schedule).result[0]


CASES = [(guider, model) for guider in (basic, cfg, dual_cfg, perp_neg) for model in (UNET, DIT)]
CASES.append((picture_and_sound, SOUND))


@pytest.mark.parametrize(("guider", "model"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_guider(subjects, host, model, guider):
    subject = subjects(model)
    network = subject.model.model.diffusion_model
    with Counting([network]) as every:
        plain = run(subject, guider(subject.model, subject))
    off = run(subject, guider(patched(subject, custom_schedule(host)), subject))
    assert all(map(torch.equal, off, plain))
    faster = guider(patched(subject), subject)
    with Counting([network]) as computed:
        latent = run(subject, faster)
    assert all(map(torch.equal, run(subject, faster), latent))
    assert computed.counts[0] < 0.7 * every.counts[0]
    assert all(relative(part, truth) < 0.2 for part, truth in zip(latent, plain, strict=True))


@pytest.mark.parametrize("model", [UNET, DIT])
def test_a_guider_with_two_models_skips_in_both(subjects, host, model):
    """The negative has a model of its own: both are answered for, and at the same steps."""
    subject, other = subjects(model), demo_subject(host, model)
    networks = [subject.network, other.network]

    def guider(made):
        inputs = made, subject.positive, 3.0, other.model, subject.negative
        return extra_node("custom_sampler", "DualModelGuider", *inputs)

    with Counting(networks) as every:
        plain = run(subject, guider(subject.model))
    assert every.counts == [STEPS, STEPS]
    assert torch.equal(*run(subject, guider(patched(subject, custom_schedule(host)))), *plain)
    with Counting(networks) as computed:
        (latent,) = run(subject, guider(patched(subject)))
    assert computed.counts[0] == computed.counts[1] < 0.7 * STEPS
    assert relative(latent, *plain) < 0.2
