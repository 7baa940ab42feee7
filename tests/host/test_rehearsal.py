"""A rehearsal leaves every random number as it was, of every device and library."""

import importlib
import random

import numpy as np
import pytest
import torch
from subjects import demo_subject

SIGMAS = torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
# Where torch seeds the generators of its devices.
SEEDS = [
    (torch, "manual_seed"), (torch, "seed"), (torch.random, "manual_seed"), (torch.cuda, "manual_seed"),
    (torch.cuda, "manual_seed_all"), (torch.mps, "manual_seed"), (torch.xpu, "manual_seed"),
    (torch.xpu, "manual_seed_all"), (torch.cuda, "set_rng_state"), (torch.cuda, "set_rng_state_all"),
]  # fmt: skip


@pytest.fixture
def rehearse(pack):
    return importlib.import_module(f"{pack.__name__}.nodes.host.rehearse").rehearse


@pytest.fixture
def seeded(monkeypatch):
    """A list that gets the name of each function that seeds generators of devices."""
    called = []
    for module, name in SEEDS:
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: called.append(name), raising=False)
    return called


def states():
    return torch.get_rng_state().tolist(), random.getstate(), [part.tolist() if isinstance(part, np.ndarray) else part
                                                               for part in np.random.get_state()]  # fmt: skip


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_no_generator_is_touched_for_any_sampler(host, rehearse, seeded, name):
    import comfy.samplers

    model, known = demo_subject(host, name).model, 0
    for sampler in comfy.samplers.SAMPLER_NAMES:
        before, sigmas = states(), SIGMAS.clone()
        known += rehearse(comfy.samplers.sampler_object(sampler), sigmas, model) is not None
        assert states() == before and not seeded, sampler
        # Some write into the noise levels that they are given.
        assert torch.equal(sigmas, SIGMAS), sampler
    assert known > 25


def test_noise_that_a_sampler_draws_by_itself_is_the_same_each_time(host, rehearse):
    import comfy.samplers

    model = demo_subject(host, "unet").model
    sampler = comfy.samplers.ksampler("euler", {"s_churn": 1.0})
    torch.default_generator.manual_seed(7)
    first = rehearse(sampler, SIGMAS * 14, model)
    torch.default_generator.manual_seed(8)
    second = rehearse(sampler, SIGMAS * 14, model)
    assert first.stochastic and np.array_equal(first.inputs, second.inputs)


def test_the_state_is_there_again_after_a_rehearsal_that_failed(host, rehearse, seeded):
    import comfy.samplers

    def failing(model, x, sigmas, extra_args=None, callback=None, disable=None):
        torch.randn_like(x)
        raise ValueError("5-D latents are wanted.")

    failing.__module__ = "comfy.k_diffusion.sampling"
    before = states()
    assert rehearse(comfy.samplers.KSAMPLER(failing), SIGMAS, demo_subject(host, "unet").model) is None
    assert states() == before and not seeded


def test_a_sampler_that_seeds_by_itself_is_not_rehearsed(host, rehearse, seeded):
    import comfy.samplers

    @torch.no_grad()
    def reseeding(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for sigma in sigmas[:-1]:
            torch.manual_seed(1)
            x = model(x, sigma * x.new_ones([len(x)])) + torch.randn_like(x)
        return x

    reseeding.__module__ = reseeding.__wrapped__.__module__ = "comfy.k_diffusion.sampling"
    assert rehearse(comfy.samplers.KSAMPLER(reseeding), SIGMAS, demo_subject(host, "unet").model) is None
    assert not seeded
