"""Forecasts are exact where their order says so, and combine any structure of outputs."""

import pytest
import torch

from frdiff.forecasting.rules import FAR, FORECASTERS, KRIGING_MODEL, NEAR, linear_weights
from frdiff.tensors import combine, relative_errors

pytestmark = pytest.mark.quick

TIMES = [0.9, 0.7, 0.55, 0.3]


@pytest.mark.parametrize("name", FORECASTERS)
def test_a_polynomial_of_the_rules_order_is_forecast_exactly(name):
    forecaster = FORECASTERS[name]

    def series(t):
        return sum((k + 1) * t**k for k in range(forecaster.order + 1))

    times = TIMES[-forecaster.history :]
    for t in (0.29, 0.1, 0.0):
        forecast = sum(w * series(u) for w, u in zip(forecaster.weights(t, times), times, strict=True))
        assert forecast == pytest.approx(series(t), abs=1e-12)
        assert sum(forecaster.weights(t, times)) == pytest.approx(1)


@pytest.mark.parametrize("name", FORECASTERS)
def test_a_short_history_is_enough(name):
    assert FORECASTERS[name].weights(0.1, [0.5]) == pytest.approx([1.0])
    assert sum(FORECASTERS[name].weights(0.1, [0.9, 0.5])) == pytest.approx(1.0)


def test_chebyshev_is_half_the_line_and_half_the_ridge():
    times, y, t = [0.9, 0.6], [2.0, 5.0], 0.4
    forecast = sum(w * v for w, v in zip(FORECASTERS["chebyshev"].weights(t, times), y, strict=True))
    # On two points: a straight line about their mean, its slope shrunk by the ridge of 0.1 on 2 t - 1.
    centre, spread = 0.75, 2 * 0.3**2
    slope = (y[1] - y[0]) / (times[1] - times[0])
    ridge = 3.5 + slope * (t - centre) * spread / (spread + 0.1)
    line = 3.5 + slope * (t - centre)
    assert forecast == pytest.approx((ridge + line) / 2)


def test_kriging_hits_what_it_knows_and_expects_more_error_farther_away():
    times = [0.9, 0.7, 0.5]
    assert FORECASTERS["kriging"].weights(0.5, times) == pytest.approx([0.0, 0.0, 1.0], abs=1e-4)
    deviations = [KRIGING_MODEL.deviation(t, times) for t in (0.49, 0.45, 0.4, 0.3, 0.1)]
    assert deviations == sorted(deviations) and deviations[0] < 0.05


def test_kriging_is_steadied_for_solvers_that_use_outputs_again():
    rule, times = FORECASTERS["kriging"], [0.9, 0.7, 0.5]
    steady = rule.weights_for(True)
    assert rule.weights_for(False) is rule.weights and FORECASTERS["linear"].weights_for(True) == linear_weights
    near, far = times[-1] - NEAR, times[-1] - FAR
    assert steady(near, times) == pytest.approx(rule.weights(near, times))
    repeated = [0.0, 0.0, 1.0]
    half = [(a + b) / 2 for a, b in zip(rule.weights(far, times), repeated, strict=True)]
    assert steady(far, times) == pytest.approx(half)
    # Between two known outputs, as a repair asks, it is kriging.
    assert steady(0.6, times) == pytest.approx(rule.weights(0.6, times))


def test_kriging_is_the_straight_line_close_by():
    near = FORECASTERS["kriging"].weights(0.499, [0.505, 0.502])
    line = FORECASTERS["linear"].weights(0.499, [0.505, 0.502])
    assert near == pytest.approx(line, abs=0.05)


def test_lists_of_tensors_are_combined_part_by_part():
    outputs = [[torch.ones(2), torch.zeros(3)], [torch.full((2,), 3.0), torch.ones(3)]]
    first, second = combine([-1.0, 2.0], outputs)
    assert torch.equal(first, torch.full((2,), 5.0)) and torch.equal(second, torch.full((3,), 2.0))
    assert torch.equal(outputs[0][0], torch.ones(2))


def test_the_error_is_that_of_the_worst_picture():
    truth = torch.ones(2, 4)
    forecast = torch.stack([torch.ones(4), torch.full((4,), 1.5)])
    assert relative_errors(forecast, truth).max().item() == pytest.approx(0.5)
