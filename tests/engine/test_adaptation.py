"""The run shows how much of a forecast is worth having: by picture, under whatever guidance there is."""

import pytest
import torch
from driver import call, start

from frdiff.forecasting.adaptation import Gain, best_shares, guidance_weights
from frdiff.planning.presets import for_speedup

pytestmark = pytest.mark.quick


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def conditions(count, batch=2):
    """Answers (C, B, N) that are nearly parallel, as those of conditions are."""
    return random(1, batch, 64) + 0.1 * random(count, batch, 64, seed=1)


@pytest.mark.parametrize("weights", [[1.0], [8.0, -7.0], [5.0, -6.0, 2.0], [0.7, 0.0]])
def test_the_weights_of_guidance_are_found(weights):
    answers = conditions(len(weights))
    denoised = torch.einsum("c,cbn->bn", torch.tensor(weights), answers)
    found = guidance_weights(answers, denoised)
    assert found.shape == (2, len(weights))
    torch.testing.assert_close(found, torch.tensor([weights, weights]), rtol=1e-3, atol=1e-3)


def test_the_weights_of_a_rescaled_guidance_are_each_pictures_own():
    answers = conditions(2)
    denoised = torch.einsum("bc,cbn->bn", torch.tensor([[3.0, -2.0], [2.4, -1.6]]), answers)
    torch.testing.assert_close(guidance_weights(answers, denoised)[1], torch.tensor([2.4, -1.6]), rtol=1e-3, atol=1e-3)


def measured(shares, cfg=8.0, evaluations=4, x0=False):
    """The share that is applied when in every evaluation, for each picture, this one would have been best."""
    gain, best = Gain(x0), torch.tensor(shares)
    for number in range(evaluations):
        gain.begin()
        answers = conditions(2, len(shares))
        repeat, forecast = random(2, len(shares), 64, seed=number + 5), random(2, len(shares), 64, seed=number + 9)
        truth = repeat + best[None, :, None] * (forecast - repeat)
        outputs = [2 * repeat.flatten(0, 1) - forecast.flatten(0, 1), repeat.flatten(0, 1)]
        gain.tried("both", [-1.0, 2.0], outputs, truth.flatten(0, 1), repeat.flatten(0, 1))
        gain.answered("both", answers.flatten(0, 1))
        gain.ended(cfg * answers[0] - (cfg - 1) * answers[1])
    zero, one = torch.zeros(2 * len(shares), 64), torch.ones(2 * len(shares), 64)
    return gain.applied(one, zero, zero)[:, 0].reshape(2, len(shares))


def test_the_share_is_each_pictures_own_and_the_same_for_all_conditions():
    shares = measured([1.0, 0.0, -5.0])
    assert torch.equal(shares[0], shares[1])
    # Half way to the forecast, which is trusted beforehand; beyond repetition is not gone.
    torch.testing.assert_close(shares[0], torch.tensor([1.0, 0.5, 0.0]), rtol=1e-3, atol=1e-3)


def test_a_picture_is_measured_as_if_it_were_alone():
    torch.testing.assert_close(measured([0.3, 0.9])[:, :1], measured([0.3, 0.1])[:, :1])


@pytest.mark.parametrize("denoised", [None, "text", (torch.zeros(2, 64),), torch.zeros(2, 32), torch.zeros(0, 64),
                                      torch.zeros(()), torch.zeros(3, 64)])  # fmt: skip
def test_what_cannot_be_compared_is_not_measured(denoised):
    gain, answers = Gain(False), conditions(2)
    gain.begin()
    gain.tried("both", [-1.0, 2.0], [random(4, 64, seed=1), random(4, 64, seed=2)], random(4, 64), random(4, 64))
    gain.answered("both", answers.flatten(0, 1))
    gain.ended(denoised)
    assert gain.errors is None
    assert gain.applied("as it is", None, None) == "as it is"
    forecast = random(4, 64)
    assert gain.applied(forecast, torch.zeros(4, 64), forecast) is forecast


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("cfg_pp", [False, True])
def test_denoised_latents_follow_the_input_as_far_as_the_network_lets_it_through(share, cfg_pp):
    gain, x = Gain(True, cfg_pp=cfg_pp), random(2, 4096, seed=3)
    outputs = [random(2, 4096, seed=1), random(2, 4096, seed=2)]
    truth = outputs[1] + share * (x - outputs[1])
    gain.begin()
    gain.tried("both", [-1.0, 2.0], outputs, truth, x)
    gain.answered("both", truth)
    gain.ended(truth)
    zero = torch.zeros(2, 8)
    followed = gain.applied(zero, zero, torch.ones(2, 8))
    # A sampler that takes the outputs of single conditions needs another share than the guided output's.
    expected = 0.0 if cfg_pp else share / 1.3
    torch.testing.assert_close(followed, torch.full((2, 8), expected), rtol=0.0, atol=0.15)


def test_the_error_is_that_of_the_guided_answer_against_saying_nothing():
    """Two conditions whose forecasts are off by as much, but guidance takes the difference eight-fold."""
    answers, gain = conditions(2), Gain(False)
    gain.begin()
    truth, off = random(2, 2, 64, seed=3), random(1, 2, 64, seed=4).expand(2, -1, -1)
    outputs = [torch.zeros(4, 64), (truth + torch.tensor([1.0, -1.0])[:, None, None] * off).flatten(0, 1)]
    gain.tried("both", [0.0, 1.0], outputs, truth.flatten(0, 1), outputs[0])
    gain.answered("both", answers.flatten(0, 1))
    gain.ended(8 * answers[0] - 7 * answers[1])
    guided = 8 * truth[0] - 7 * truth[1]
    torch.testing.assert_close(gain.errors, 15 * off[0].norm(dim=1) / guided.norm(dim=1), rtol=1e-2, atol=0.0)


def test_shares_stay_between_none_and_all():
    sums = torch.tensor([[[1.0, 0.2, 5.0], [0.2, 1.0, -3.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    assert best_shares(sums, (0.3, 0.3)).tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert best_shares(sums[:, :1, [0, 2]], (1.0,)).tolist() == [[1.0], [1.0]]


NETWORK = torch.nn.Identity()
SIGMAS = [8.0 * 0.8**step for step in range(20)] + [0.0]


def errors(output):
    """The mean error of the skipped outputs of a run whose network says `output(step)`, with the gain and without."""
    found = []
    for measures in (True, False):
        session, apart = start(for_speedup(2.0), SIGMAS, measures=measures), []
        for step, sigma in enumerate(SIGMAS[:-1]):
            x = torch.zeros(1, 64)
            session.begin_evaluation(sigma, x)
            answer = call(session, "condition", NETWORK, lambda step=step: NETWORK(output(step)), x)
            session.end_evaluation(x - sigma * answer)
            apart.append(float((answer - output(step)).norm()))
        session.close()
        found.append(sum(apart) / len(apart))
    return found


def test_a_run_whose_outputs_jump_to_and_fro_is_led_back_to_repetition():
    rough, smooth = random(20, 1, 64), random(1, 64)
    with_gain, without = errors(lambda step: smooth + 0.3 * rough[step])
    assert with_gain < 0.9 * without
    with_gain, without = errors(lambda step: smooth * (1 + 0.05 * step))
    assert with_gain == pytest.approx(without, rel=0.02)
