"""Fresh noise is told from linear solvers by the run itself."""

import pytest
import torch

from frdiff.runtime.guard import Guard
from frdiff.sampler.watch import SamplerWatch

pytestmark = pytest.mark.quick

SIGMAS = [10.0, 7.0, 4.0, 2.0, 1.0, 0.5]


def walk(noise=0.0, start=0, momentum=0.0, region=None, outside=0.0, uncond=False):
    """Follow a two-step solver; noise is added from step `start` on, and `outside` of the region always."""
    generator = torch.Generator().manual_seed(0)
    watch, x, previous = SamplerWatch(region), torch.randn(2, 4, 8, 8, generator=generator) * 10, None
    verdicts = []
    for step, (sigma, following) in enumerate(zip(SIGMAS, SIGMAS[1:], strict=False)):
        watch.arrived(x)
        verdicts.append(watch.stochastic)
        parts = torch.stack([torch.tanh(x + sigma), torch.tanh(x * 0.5)])
        watch.called(parts.flatten(0, 1))
        denoised = 3 * parts[0] - 2 * parts[1]
        watch.answered(denoised)
        d = (x - (parts[1] if uncond else denoised)) / sigma
        used = d if previous is None else (1 + momentum) * d - momentum * previous
        x, previous = (denoised + following * d if uncond else x + (following - sigma) * used), d
        if step >= start:
            x = x + noise * torch.randn(x.shape, generator=generator)
        if region is not None:
            x = x + outside * (1 - region) * torch.randn(x.shape, generator=generator)
    return verdicts


def test_linear_solvers_are_deterministic():
    assert walk() == walk(momentum=0.5) == [None, False, False, False, False]


def test_a_solver_that_uses_the_unconditional_output_is_deterministic():
    assert walk(uncond=True)[-1] is False


def test_a_solver_that_remembers_many_derivatives_is_deterministic():
    x, watch, history = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 10, SamplerWatch(), []
    sigmas = [10 * 0.8**step for step in range(12)]
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        watch.arrived(x)
        denoised = torch.tanh(x + sigma)
        watch.answered(denoised)
        history = [*history, (x - denoised) / sigma][-4:]
        weights = [-9, 37, -59, 55][-len(history) :]
        x = x + (following - sigma) * sum(w * d for w, d in zip(weights, history, strict=True)) / sum(weights)
    assert watch.stochastic is False


def test_a_broken_latent_breaks_nothing():
    watch = SamplerWatch()
    for value in (1.0, float("nan"), float("nan")):
        watch.arrived(torch.full((1, 4, 8, 8), value))
        watch.answered(torch.full((1, 4, 8, 8), value))
    assert watch.stochastic is None


STRANGE = {
    "nothing": None,
    "a tuple": (torch.ones(2, 4), None),
    "a dictionary": {"samples": torch.ones(2, 4)},
    "a number": 1.0,
    "whole numbers": torch.ones(2, 4, dtype=torch.int64),
    "complex": torch.ones(2, 4, dtype=torch.complex64),
    "no dimension": torch.tensor(1.0),
    "empty": torch.ones(0, 4),
    "sparse": torch.eye(4).to_sparse(),
    "without numbers": torch.ones(2, 4, device="meta"),
    "nested": torch.nested.nested_tensor([torch.ones(3), torch.ones(2)]),
    "endless": torch.full((2, 4, 8, 8), float("inf")),
    "of another shape": torch.ones(2, 3, 5),
}


@pytest.mark.parametrize("region", [None, torch.ones(1, 1, 8, 8)], ids=["free", "masked"])
@pytest.mark.parametrize("name", STRANGE)
def test_whatever_passes_by_breaks_nothing(name, region):
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for place in range(3):
        watch = SamplerWatch(region)
        for evaluation in range(4):
            seen = [x * (evaluation + 1), torch.cat([x, x]), torch.tanh(x)]
            if evaluation == 2:
                seen[place] = STRANGE[name]
            for note, value in zip((watch.arrived, watch.called, watch.answered), seen, strict=True):
                note(value)
        # A tensor of another shape is a latent that was cut, and what a network returns need be none.
        another = name == "of another shape" and region is None
        assert watch.lost == (place != 1 and not another)


def test_outputs_that_are_no_numbers_are_not_calculated_with():
    watch, x = SamplerWatch(), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for evaluation in range(4):
        watch.arrived(x * (evaluation + 1))
        watch.answered(x * float("nan") if evaluation == 1 else x)
    assert watch.lost and watch.stochastic is False


def test_noise_is_seen_when_it_comes():
    assert walk(noise=0.1) == [None, True, True, True, True]
    assert walk(noise=0.1, start=2) == [None, False, False, True, True]


def test_what_inpainting_keeps_does_not_count():
    region = torch.zeros(1, 1, 8, 8)
    region[..., :4] = 1
    assert walk(region=region, outside=0.5)[-1] is False
    assert walk(region=region, outside=0.5, noise=0.1)[-1] is True


def test_the_guard_stops_skipping_after_a_ruinous_forecast_until_one_is_not():
    guard = Guard()
    guard.tested(1.9)
    assert guard.allows_skip()
    guard.tested(2.1)
    assert [guard.allows_skip() for _ in range(3)] == [False, False, False]
    guard.tested(0.1)
    assert guard.allows_skip() and guard.computed == 3
    guard.tested(float("nan"))
    assert not guard.allows_skip()


@pytest.mark.parametrize(
    ("errors", "codes"),
    [
        ((0.2, 0.9, 1.0), []),
        ((0.2, 0.3, 1.1), ["poor-forecasts"]),
        ((0.2, 0.3, 0.4, 1.1), []),
        ((0.2, 1.5, 2.5), ["guarded"]),
        ((), []),
    ],
)
def test_forecasts_that_were_no_better_than_none_are_told(errors, codes):
    guard = Guard()
    for error in errors:
        guard.tested(error)
        guard.allows_skip()
    reasons = list(guard.reasons())
    assert [reason.code for reason in reasons] == codes
    assert all(reason.sentence.startswith("1 of ") or "computed in full" in reason.sentence for reason in reasons)
