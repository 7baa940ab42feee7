"""Forecasts are exact where their order says so, and combine any structure of outputs."""

import pytest
import torch

from frdiff.forecast import LINEAR, QUADRATIC, REUSE, combine, relative_error

pytestmark = pytest.mark.quick

TIMES = [0.9, 0.7, 0.55, 0.3]


@pytest.mark.parametrize(("forecaster", "order"), [(REUSE, 0), (LINEAR, 1), (QUADRATIC, 2)])
def test_a_polynomial_of_the_rules_order_is_forecast_exactly(forecaster, order):
    def series(t):
        return sum((k + 1) * t**k for k in range(order + 1))

    times = TIMES[-forecaster.history :]
    for t in (0.29, 0.1, 0.0):
        forecast = sum(w * series(u) for w, u in zip(forecaster.weights(t, times), times, strict=True))
        assert forecast == pytest.approx(series(t), abs=1e-12)
        assert sum(forecaster.weights(t, times)) == pytest.approx(1)


def test_a_short_history_lowers_the_order():
    assert QUADRATIC.weights(0.1, [0.5]) == [1.0]
    assert QUADRATIC.weights(0.1, [0.9, 0.5]) == pytest.approx([-1.0, 2.0])


def test_lists_of_tensors_are_combined_part_by_part():
    outputs = [[torch.ones(2), torch.zeros(3)], [torch.full((2,), 3.0), torch.ones(3)]]
    first, second = combine([-1.0, 2.0], outputs)
    assert torch.equal(first, torch.full((2,), 5.0)) and torch.equal(second, torch.full((3,), 2.0))
    assert torch.equal(outputs[0][0], torch.ones(2))


def test_the_error_is_that_of_the_worst_picture():
    truth = torch.ones(2, 4)
    forecast = torch.stack([torch.ones(4), torch.full((4,), 1.5)])
    assert relative_error(forecast, truth) == pytest.approx(0.5)
