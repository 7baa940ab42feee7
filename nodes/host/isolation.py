"""Run code of any pack so that it leaves no trace: what it draws, prints, shows and keeps is put back."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.utils
import numpy as np
import torch

from .same_state import NotIsolated, same_state

# Times the limit of its work: how long code may take that does not work, or does on a machine with much else to do.
MOST_WAITING = 10


@contextmanager
def isolated(seconds: float, *held: Any) -> Iterator[None]:
    """Keep off what is done inside to the state of `held`, objects and functions, and of their packages.

    Raises NotIsolated inside after `seconds`, as soon as the code calls anything.
    """
    with ExitStack() as stack:
        for keeping in (same_state(held), _same_random_numbers(), _silence(), _time_limit(seconds)):
            stack.enter_context(keeping)
        yield


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """The same random numbers each time on the CPU, and everyone else's as if there had been none.

    `torch.manual_seed` and `torch.random.fork_rng` are for the generators of every device.
    """
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(state)


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """All global generators as before, of every library and of every device that is in use."""
    devices = [torch.cuda] if torch.cuda.is_initialized() else []
    generators = [torch.default_generator, *(each for device in devices for each in device.default_generators)]
    states = [generator.get_state() for generator in generators]
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        random.setstate(of_python)
        np.random.set_state(of_numpy)


class _Muted:
    """A stream that takes nothing from one thread."""

    def __init__(self, stream: Any, thread: int) -> None:
        self._stream, self._thread = stream, thread

    def write(self, text: str) -> int:
        """Write, as far as another thread does."""
        return len(text) if threading.get_ident() == self._thread else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _silence() -> Iterator[None]:
    """No prints, log lines and progress of this thread."""
    own = threading.get_ident()
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = {handler for logger in loggers for handler in getattr(logger, "handlers", ())}

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != own

    streams, hook = (sys.stdout, sys.stderr), comfy.utils.PROGRESS_BAR_HOOK
    for handler in handlers:
        handler.addFilter(of_others)
    sys.stdout, sys.stderr = (_Muted(stream, own) for stream in streams)
    comfy.utils.PROGRESS_BAR_HOOK = None
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        comfy.utils.PROGRESS_BAR_HOOK = hook
        for handler in handlers:
            handler.removeFilter(of_others)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise NotIsolated after so many seconds, at the next call or return; a profiler that is there goes on instead.

    They are seconds of this thread's work: what else the machine does may not change a picture. What waits has more.
    """
    end, latest, before = time.thread_time() + seconds, time.perf_counter() + MOST_WAITING * seconds, sys.getprofile()

    def look_at_the_clock(*_: Any) -> None:
        if time.thread_time() > end or time.perf_counter() > latest:
            sys.setprofile(before)
            raise NotIsolated

    if before is None:
        sys.setprofile(look_at_the_clock)
    try:
        yield
    finally:
        sys.setprofile(before)
