"""Forecasts of a network output: weights from flow times alone, applied to remembered outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Weights = Callable[[float, Sequence[float]], Sequence[float]]


@dataclass(frozen=True)
class Forecaster:
    """A rule `w(t; t_1 .. t_K)` and the number of remembered outputs that it can use."""

    name: str
    weights: Weights
    history: int


def reuse_weights(t: float, times: Sequence[float]) -> list[float]:
    """Order 0: the newest remembered output alone (arXiv 2312.03517, the "jump")."""
    return [0.0] * (len(times) - 1) + [1.0]


def linear_weights(t: float, times: Sequence[float]) -> list[float]:
    """Order 1: the straight line through the two newest outputs; reuse while there is only one."""
    return lagrange_weights(t, times, order=1)


def quadratic_weights(t: float, times: Sequence[float]) -> list[float]:
    """Order 2: the parabola through the three newest outputs; a lower order while there are fewer."""
    return lagrange_weights(t, times, order=2)


def lagrange_weights(t: float, times: Sequence[float], order: int) -> list[float]:
    """Weights of the polynomial of at most `order` through the newest outputs, at time `t`.

    Exact for any series that is a polynomial of that order in `times`, which are distinct.
    """
    nodes = list(times[-(order + 1) :])
    weights = [0.0] * (len(times) - len(nodes))
    for node in nodes:
        weight = 1.0
        for other in nodes:
            if other != node:
                weight *= (t - other) / (node - other)
        weights.append(weight)
    return weights


REUSE = Forecaster("reuse", reuse_weights, history=1)
LINEAR = Forecaster("linear", linear_weights, history=2)
QUADRATIC = Forecaster("quadratic", quadratic_weights, history=3)


def combine(weights: Sequence[float], outputs: Sequence[Any]) -> Any:
    """Return `sum_k w_k h_k` as new tensors; an output is a tensor or a list or tuple of tensors."""
    first = outputs[0]
    if isinstance(first, (list, tuple)):
        return type(first)(combine(weights, parts) for parts in zip(*outputs, strict=True))
    total = first * weights[0]
    for weight, output in zip(weights[1:], outputs[1:], strict=True):
        total = torch.add(total, output, alpha=weight)
    return total


def relative_error(forecast: Any, truth: Any) -> float:
    """`|forecast - truth| / |truth|` of two outputs, the worst element of the batch (waits for the device)."""
    if isinstance(truth, (list, tuple)):
        return max(relative_error(a, b) for a, b in zip(forecast, truth, strict=True))
    apart = (forecast.float() - truth.float()).flatten(1).norm(dim=1)
    size = truth.float().flatten(1).norm(dim=1)
    return float((apart / size.clamp(min=torch.finfo(torch.float32).tiny)).max())
