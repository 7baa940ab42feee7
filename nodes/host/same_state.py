"""Put back what code of other packages keeps: in globals, classes, closures, objects and containers."""

from __future__ import annotations

import functools
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

# Larger ones are latents or pictures, which a rehearsal on a few numbers can do nothing with.
LARGEST_TENSOR = 10_000


# Packages that keep more than this are not worth the time.
MOST_OBJECTS = 200_000
# What a rehearsal may count on to be left alone.
_TRUSTED = {"builtins", "comfy", "functools", "torch"}


class NotIsolated(BaseException):
    """The code cannot be run without a trace, or takes longer than it may.

    No Exception, which the code may catch.
    """


@contextmanager
def same_state(held: Iterable[Any]) -> Iterator[None]:
    """The state of these objects and of the packages that they are from as before."""
    snapshot, dtype = _Snapshot(held), torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        snapshot.restore()


class _Snapshot:
    """What packages keep: in globals, classes, functions and their closures, objects, and containers in any of these.

    Only what is of the packages of `held` is followed, and containers.
    """

    def __init__(self, held: Iterable[Any]) -> None:
        self._undo: list[Callable[[], object]] = []
        self._seen: set[int] = set()
        self._packages = {name.partition(".")[0] for each in held for name in _modules_of(each)} - _TRUSTED
        modules = [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in self._packages]
        waiting: list[Any] = [*held, *modules]
        # Not by recursion: what packages keep can be deep.
        while waiting:
            waiting += self._noted(waiting.pop())
            if len(self._seen) > MOST_OBJECTS:
                raise NotIsolated

    def restore(self) -> None:
        """Put everything back."""
        with torch.inference_mode():
            for undo in self._undo:
                undo()

    def _noted(self, value: Any) -> list[Any]:
        """Note how to put a value back, and return what it holds."""
        if id(value) in self._seen or isinstance(value, (str, int, float, bytes, type(None))) or value is sys.modules:
            return []
        self._seen.add(id(value))
        if isinstance(value, torch.Tensor):
            return self._noted_tensor(value)
        if isinstance(value, (tuple, frozenset)):
            return list(value)
        if isinstance(value, (dict, list, set, deque)):
            return self._noted_container(value)
        if isinstance(value, (types.FunctionType, functools.partial, types.MethodType)):
            return self._noted_function(value)
        if isinstance(value, type):
            return self._noted_class(value) if self._is_followed(value.__module__) else []
        if isinstance(value, types.ModuleType):
            return [vars(value)] if self._is_followed(value.__name__) else []
        own = isinstance(getattr(value, "__dict__", None), dict) and self._is_followed(type(value).__module__)
        return [vars(value)] if own or _is_sampler(value) else []

    def _is_followed(self, module: str) -> bool:
        return module.partition(".")[0] in self._packages

    def _noted_tensor(self, value: torch.Tensor) -> list[Any]:
        if value.numel() <= LARGEST_TENSOR:
            before = value.clone()
            self._undo.append(lambda: None if torch.equal(value, before) else value.copy_(before))
        return []

    def _noted_container(self, value: Any) -> list[Any]:
        before = value.copy()
        if isinstance(value, dict):
            self._undo.append(lambda: _put_back_entries(value, before, value.__setitem__, value.__delitem__))
            return list(before.values())
        self._undo.append(lambda: _put_back_elements(value, before))
        return list(before)

    def _noted_function(self, value: Any) -> list[Any]:
        cells = [cell for cell in getattr(value, "__closure__", None) or () if _is_full(cell)]
        for cell, before in [(cell, cell.cell_contents) for cell in cells]:
            self._undo.append(functools.partial(setattr, cell, "cell_contents", before))
        names = ("__dict__", "__defaults__", "__kwdefaults__", "__wrapped__", "__self__", "__func__", "func", "args",
                 "keywords")  # fmt: skip
        return [*(cell.cell_contents for cell in cells), *(getattr(value, name, None) for name in names)]

    def _noted_class(self, value: type) -> list[Any]:
        before = dict(vars(value))
        put, drop = functools.partial(setattr, value), functools.partial(delattr, value)
        self._undo.append(lambda: _put_back_entries(vars(value), before, put, drop))
        return [held.__func__ if isinstance(held, (staticmethod, classmethod)) else held for held in before.values()]


def _put_back_entries(
    now: Mapping[Any, Any], before: Mapping[Any, Any], put: Callable[[Any, Any], None], drop: Callable[[Any], None]
) -> None:
    """Put back what changed alone: other threads may be reading."""
    for name in [name for name in now if name not in before]:
        drop(name)
    for name, value in before.items():
        if name not in now or now[name] is not value:
            put(name, value)


def _put_back_elements(value: Any, before: Any) -> None:
    if len(value) != len(before) or any(a is not b for a, b in zip(value, before, strict=True)):
        value.clear()
        value.extend(before) if isinstance(value, (list, deque)) else value.update(before)


def _is_full(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        # The variable is not there yet.
        return False


def _modules_of(value: Any) -> set[str]:
    """The names of the modules that an object, a function, and what is inside of it are from."""
    links = ("func", "__func__", "__self__", "__wrapped__", "sampler_function")
    inner = [getattr(value, name, None) for name in links]
    # A sampler may be an option of another.
    inner += [each for each in getattr(value, "extra_options", {}).values() if callable(each) or _is_sampler(each)]
    names = {getattr(value, "__module__", None), type(value).__module__}
    names |= {name for each in inner if each is not None for name in _modules_of(each)}
    return {name for name in names if isinstance(name, str)}


def _is_sampler(value: Any) -> bool:
    return hasattr(value, "sampler_function")
