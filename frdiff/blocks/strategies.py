"""How a stage is remembered: its whole result, what a child returned in it, or its output less its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..forward_patch import Forward, Place, swapped
from ..tensors import Signature, copied, is_tensors_alone, signature_of
from ..typed import is_tuple
from .families import Argument

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]


class Strategy(Protocol):
    """How one stage is remembered; `forward` is what the stage would have computed."""

    def signature(self, args: Arguments, kwargs: Keywords) -> Signature | None:
        """What must be the same for a remembered result to fit, None when this call cannot be remembered."""
        ...

    def remember(self, forward: Forward, args: Arguments, kwargs: Keywords) -> tuple[Any, Any]:
        """The computed result, and what to keep of it or None."""
        ...

    def reuse(self, forward: Forward, kept: Any, args: Arguments, kwargs: Keywords) -> Any:
        """The result made from what was kept, in tensors that the caller may write into."""
        ...


@dataclass(frozen=True)
class WholeResult:
    """The stage's own result."""

    def signature(self, args: Arguments, kwargs: Keywords) -> Signature:
        return signature_of((*args, *kwargs.values()))

    def remember(self, forward: Forward, args: Arguments, kwargs: Keywords) -> tuple[Any, Any]:
        result = forward(*args, **kwargs)
        return result, copied(result) if is_tensors_alone(result) else None

    def reuse(self, forward: Forward, kept: Any, args: Arguments, kwargs: Keywords) -> Any:
        return copied(kept)


@dataclass(frozen=True)
class ChildResult:
    """The result of a child; what works for it alone is idle when it is answered for."""

    child: torch.nn.Module
    idle: tuple[torch.nn.Module, ...]

    def signature(self, args: Arguments, kwargs: Keywords) -> Signature:
        return signature_of((*args, *kwargs.values()))

    def remember(self, forward: Forward, args: Arguments, kwargs: Keywords) -> tuple[Any, Any]:
        kept: list[torch.Tensor] = []
        compute = self.child.forward

        def keep(*args: Any, **kwargs: Any) -> Any:
            value = compute(*args, **kwargs)
            kept.append(value.clone())
            return value

        with swapped({self.child: keep}):
            result = forward(*args, **kwargs)
        # Once, or the block is not the one that the table describes.
        return result, kept[0] if len(kept) == 1 else None

    def reuse(self, forward: Forward, kept: Any, args: Arguments, kwargs: Keywords) -> Any:
        answers: dict[Place, Forward] = dict.fromkeys(self.idle, _unchanged)
        answers[self.child] = lambda *_, **__: kept.clone()
        with swapped(answers):
            return forward(*args, **kwargs)


@dataclass(frozen=True)
class BlockResidual:
    """Output minus input, for blocks `y = x + f(x)`; see Family for `inputs`, `mutates`, `base` and `after`.

    Inputs and outputs are (B, T, C) or (B, C, ...), a residual has its input's shape (docs/math.md, equation 5.3).
    """

    inputs: tuple[Argument, ...]
    mutates: bool
    base: torch.nn.Module | None
    after: torch.nn.Module | None

    def signature(self, args: Arguments, kwargs: Keywords) -> Signature | None:
        found = self._find(args, kwargs)
        return None if found is None else signature_of(found)

    def remember(self, forward: Forward, args: Arguments, kwargs: Keywords) -> tuple[Any, Any]:
        bases = self._find(args, kwargs)
        if bases is not None and self.mutates:
            bases = [value.clone() for value in bases]
        if self.base is None:
            result = forward(*args, **kwargs)
        else:
            result, bases = _watch_input(self.base, forward, args, kwargs)
        outputs = result[1:] if self.after is not None else result
        return result, _difference(outputs, bases)

    def reuse(self, forward: Forward, kept: Any, args: Arguments, kwargs: Keywords) -> Any:
        bases = self._find(args, kwargs) if self.base is None else _reach_input(self.base, forward, args, kwargs)
        assert bases is not None
        if isinstance(kept, torch.Tensor):
            return bases[0] + kept
        outputs = tuple(None if r is None else base + r for r, base in zip(kept, bases, strict=True))
        return outputs if self.after is None else (self.after(*outputs), *outputs)

    def _find(self, args: Arguments, kwargs: Keywords) -> list[torch.Tensor] | None:
        """The inputs, (B, T, C) or (B, C, ...), that the outputs add to; None where one of them is not a tensor."""
        found = [_argument(where, args, kwargs) for where in self.inputs]
        return found if all(isinstance(value, torch.Tensor) for value in found) else None


class _Reached(Exception):
    """Carries a block's base (B, T, C) out of the block, whose remaining work is not needed."""

    def __init__(self, base: torch.Tensor) -> None:
        self.base = base


def _argument(where: Argument, args: Arguments, kwargs: Keywords) -> Any:
    position, name, *part = where
    value = kwargs[name] if name in kwargs else (args[position] if position < len(args) else None)
    return value[part[0]] if part and is_tuple(value) else value


def _difference(outputs: Any, bases: list[torch.Tensor] | None) -> Any:
    """Outputs minus their bases of the same shapes, in the outputs' own structure; None when they do not pair."""
    if isinstance(outputs, torch.Tensor):
        outputs, packed = (outputs,), False
    else:
        packed = True
    if bases is None or not is_tuple(outputs) or len(outputs) != len(bases):
        return None
    if any(value is not None and value.shape != base.shape for value, base in zip(outputs, bases, strict=True)):
        return None
    residuals = tuple(None if v is None else v - base for v, base in zip(outputs, bases, strict=True))
    return residuals if packed else residuals[0]


def _watch_input(
    child: torch.nn.Module, forward: Forward, args: Arguments, kwargs: Keywords
) -> tuple[Any, list[torch.Tensor] | None]:
    """The computed result, and the one tensor (B, T, C) that `child` was called with on the way."""
    seen: list[torch.Tensor] = []
    compute = child.forward

    def watch(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(x)
        return compute(x, *args, **kwargs)

    with swapped({child: watch}):
        result = forward(*args, **kwargs)
    return result, seen if len(seen) == 1 else None


def _reach_input(child: torch.nn.Module, forward: Forward, args: Arguments, kwargs: Keywords) -> list[torch.Tensor]:
    """The tensor (B, T, C) that `child` is called with, computing no more of the block than leads there."""

    def reached(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        raise _Reached(x)

    with swapped({child: reached}):
        try:
            forward(*args, **kwargs)
        except _Reached as end:
            return [end.base]
    raise RuntimeError(f"A {type(child).__name__} was called when its block was remembered, and now it was not.")


def _unchanged(x: Any, *args: Any, **kwargs: Any) -> Any:
    return x
