"""Types where there are none: functions that torch leaves without them, and values that may be anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import torch


def norm(tensor: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    """The L2 norm () of a tensor of any shape, or the norms along its dimension `dim`, (B, M) -> (B,) for 1."""
    return _untyped(tensor).norm(dim=dim)


def solved(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The `x` (B, N, K) with `a x = b` for (B, N, N) and (B, N, K), without waiting for a device to look for errors."""
    return _untyped(torch.linalg).solve_ex(a, b).result


def pieces(tensor: torch.Tensor, sizes: int | list[int]) -> tuple[torch.Tensor, ...]:
    """A tensor (N, ...) cut along its first dimension, into pieces of one size or of these sizes."""
    return _untyped(tensor).split(sizes)


def unique_rows(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The different rows (M, C) of a tensor (N, C), and which of them each row is (N,)."""
    return _untyped(torch).unique(tensor, dim=0, return_inverse=True)


def numbers_in(tensor: torch.Tensor) -> list[float]:
    """The elements of a tensor (N,), read in one go."""
    return _untyped(tensor).tolist()


def modules_of(network: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """A network and all modules in it, by path."""
    return _untyped(network).named_modules()


def outside_graphs(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is kept out of the graphs that torch compiles; what it calls is not."""
    return _untyped(torch.compiler).disable(forward, recursive=False)


def is_dict(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether it is a dictionary; those of JSON, options and keywords have texts for keys."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether it is a list."""
    return isinstance(value, list)


def is_tuple(value: Any) -> TypeGuard[tuple[Any, ...]]:
    """Whether it is a tuple."""
    return isinstance(value, tuple)


def _untyped(value: Any) -> Any:
    """The same; the checker takes its types for granted."""
    return value
