"""Forecasts of a network output: weights from sigmas alone, applied to remembered outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Weights = Callable[[float, Sequence[float]], Sequence[float]]


@dataclass(frozen=True)
class Forecaster:
    """A rule `w(sigma; sigma_1 .. sigma_K)` and the number of remembered outputs that it can use."""

    weights: Weights
    history: int


def reuse_weights(sigma: float, sigmas: Sequence[float]) -> list[float]:
    """Order 0: the newest remembered output alone (arXiv 2312.03517, the "jump")."""
    return [0.0] * (len(sigmas) - 1) + [1.0]


REUSE = Forecaster(reuse_weights, history=1)


def combine(weights: Sequence[float], outputs: Sequence[Any]) -> Any:
    """Return `sum_k w_k h_k` as new tensors; an output is a tensor or a list or tuple of tensors."""
    first = outputs[0]
    if isinstance(first, (list, tuple)):
        return type(first)(combine(weights, parts) for parts in zip(*outputs, strict=True))
    total = first * weights[0]
    for weight, output in zip(weights[1:], outputs[1:], strict=True):
        total = torch.add(total, output, alpha=weight)
    return total
