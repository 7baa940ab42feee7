"""Walks over containers of tensors: a network's output is a tensor, or lists, tuples and dictionaries with some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import torch
from torch.utils import _pytree as pytree

from .typed import norm

PICTURE_AND_SOUND = "picture", "sound"
# The dimensions of a video's latent: (B, C, T, H, W).
VIDEO = 5
# Of each input of a call: what must be the same for a remembered result to fit.
Signature = tuple[tuple[torch.Size, torch.dtype, torch.device], ...]


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in a value, of any shape, in order."""
    return [leaf for leaf in _leaves(value) if isinstance(leaf, torch.Tensor)]


def is_plain(value: object) -> TypeGuard[torch.Tensor]:
    """Whether it is a tensor (B, ...) whose elements can be read as real numbers, and has some."""
    return (
        isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_nested
        and value.is_floating_point() and value.device.type != "meta" and value.ndim > 0 and value.numel() > 0
    )  # fmt: skip


def map_tensors(change: Callable[[torch.Tensor], Any], value: Any) -> Any:
    """The value in new containers, with each of its tensors, of any shape, changed."""

    def changed(leaf: Any) -> Any:
        return change(leaf) if isinstance(leaf, torch.Tensor) else leaf

    return pytree.tree_map(changed, value)


def copied(value: Any) -> Any:
    """The value with copies of its tensors, so that what is kept is never written into."""
    return map_tensors(torch.Tensor.clone, value)


def snapshot(value: Any) -> Any:
    """A copy of a call's arguments to compare others with: dictionaries, the host's options, are left empty."""
    leaves, structure = pytree.tree_flatten(value, is_leaf=_is_dictionary)
    return pytree.tree_unflatten([_snapshot_of_leaf(leaf) for leaf in leaves], structure)


def equal(a: Any, b: Any) -> bool:
    """Whether arguments are equal to the last bit; dictionaries, the host's options, are not compared."""
    (ours, structure), (theirs, other) = (pytree.tree_flatten(value, is_leaf=_is_dictionary) for value in (a, b))
    return structure == other and all(map(_equal_leaves, ours, theirs))


def is_tensors_alone(value: Any) -> bool:
    """Whether a result is made of nothing but tensors and None, so that a copy of it is the whole of it."""
    return all(leaf is None or isinstance(leaf, torch.Tensor) for leaf in _leaves(value))


def can_be_forecast(value: Any) -> bool:
    """Whether an output is made of tensors of numbers alone, so that others can be calculated from it."""
    leaves = _leaves(value)
    return bool(leaves) and all(is_plain(leaf) for leaf in leaves)


def size_in_bytes(value: Any) -> int:
    """Bytes of the tensors in a value."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(value))


def device_of(value: Any) -> torch.device:
    """Where the first tensor in a value is; the CPU where there is none."""
    return next((tensor.device for tensor in tensors_in(value)), torch.device("cpu"))


def dtype_of(value: Any) -> torch.dtype | None:
    """The type of the first tensor in a value, None where there is none."""
    return next((tensor.dtype for tensor in tensors_in(value)), None)


def same_shapes(a: Any, b: Any) -> bool:
    """Whether two values hold tensors of the same shapes, one or more and nothing else, in the same order."""
    shapes = [[leaf.shape if isinstance(leaf, torch.Tensor) else None for leaf in _leaves(value)]
              for value in (a, b)]  # fmt: skip
    return shapes[0] == shapes[1] and bool(shapes[0]) and None not in shapes[0]


def signature_of(values: Sequence[Any]) -> Signature:
    """Shapes, types and devices of the tensors among `values`, not of those inside containers."""
    return tuple((v.shape, v.dtype, v.device) for v in values if isinstance(v, torch.Tensor))


def combine(weights: Sequence[float], values: Sequence[Any], dtype: torch.dtype | None = None) -> Any:
    """Return `sum_k w_k h_k` as new tensors, in containers like the first one's.

    Tensors at the same place have the same shape. Half precision is added up in single precision; the result is in
    `dtype`, or in the first one's.
    """
    leaves = [_leaves(value) for value in values]
    summed = [_weighted_sum(weights, parts, dtype) for parts in zip(*leaves, strict=True)]
    return pytree.tree_unflatten(summed, pytree.tree_flatten(values[0])[1])


def relative_errors(estimate: Any, truth: Any, nothing: Any = None) -> torch.Tensor:
    """`|estimate - truth| / |truth - nothing|` (P, B) of outputs of P tensors (B, ...) each.

    Without `nothing` it is zero. See docs/math.md, equation 6.1.
    """
    zeros = [0.0] * len(tensors_in(truth))
    of_nothing = zeros if nothing is None else tensors_in(nothing)
    each = zip(tensors_in(estimate), tensors_in(truth), of_nothing, strict=True)
    return torch.stack([_relative_errors(*three) for three in each])


def names_of_parts(latent: Any, output: Any) -> tuple[str, ...]:
    """What the tensors in a network's output (B, C, ...) are, of a latent of several parts; "" for the only one.

    The host's latents of two parts, of which the first is a video, are picture and sound.
    """
    parts = tensors_in(output)
    if len(parts) == 1:
        return ("",)
    if len(parts) == 2 == len(tensors_in(latent)) and parts[0].ndim == VIDEO > parts[1].ndim:
        return PICTURE_AND_SOUND
    return tuple(f"part {number + 1}" for number in range(len(parts)))


def _leaves(value: Any) -> list[Any]:
    return pytree.tree_flatten(value)[0]


def _is_dictionary(value: Any) -> bool:
    return isinstance(value, dict)


def _snapshot_of_leaf(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return leaf.clone()
    return {} if isinstance(leaf, dict) else leaf


def _equal_leaves(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device) and torch.equal(a, b)
    if isinstance(a, (bool, int, float, str)):
        return a == b
    return a is b or isinstance(a, dict)


def _weighted_sum(
    weights: Sequence[float], parts: Sequence[torch.Tensor], dtype: torch.dtype | None
) -> torch.Tensor:
    """K weights and K tensors (B, C, ...) -> one of the same shape."""
    first = parts[0]
    total = first.to(torch.promote_types(first.dtype, torch.float32)) * weights[0]
    for weight, part in zip(weights[1:], parts[1:], strict=True):
        total = torch.add(total, part, alpha=weight)
    return total.to(dtype or first.dtype)


def _relative_errors(estimate: torch.Tensor, truth: torch.Tensor, nothing: torch.Tensor | float) -> torch.Tensor:
    """(B, ...), (B, ...), (B, ...) -> (B,)."""
    apart = norm((estimate.float() - truth.float()).flatten(1), dim=1)
    size = norm((truth.float() - nothing).flatten(1), dim=1)
    return apart / size.clamp(min=torch.finfo(torch.float32).tiny)
