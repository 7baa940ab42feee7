"""Network time per evaluation, on whatever device, and without making it wait where it can note the time itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from ..reporting.record import StepRecord

# Backends that are not part of torch add themselves to it.
BACKENDS: dict[str, Any] = {
    "cuda": torch.cuda,
    "mps": torch.mps,
    "xpu": getattr(torch, "xpu", None),
    "npu": getattr(torch, "npu", None),
    "mlu": getattr(torch, "mlu", None),
}


class Clock:
    """Adds the milliseconds of network calls to step records; what a device notes itself is known after `finish`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[str, Any] = {}
        self._pending: list[tuple[StepRecord, Any, Any]] = []

    @contextmanager
    def measure(self, record: StepRecord, device: torch.device) -> Generator[None, None, None]:
        """Measure what `device` is given to do inside the block."""
        event = self._event(device.type)
        if event is not None:
            start, end = event(enable_timing=True), event(enable_timing=True)
            start.record()
            yield
            end.record()
            self._pending.append((record, start, end))
        else:
            wait_for(device)
            started = time.perf_counter()
            yield
            wait_for(device)
            passed = (time.perf_counter() - started) * 1000
            with self._lock:
                record.ms += passed

    def finish(self) -> None:
        """Wait for the devices and fill in the times that are still missing."""
        for record, start, end in self._pending:
            # Each event belongs to the device that made it, of which there may be several.
            end.synchronize()
            record.ms += start.elapsed_time(end)
        self._pending.clear()

    def _event(self, kind: str) -> Any:
        with self._lock:
            if kind not in self._events:
                self._events[kind] = timing_event(kind)
            return self._events[kind]


def timing_event(kind: str) -> Any:
    """The class of events that note the time on a kind of device, None where there are none or they cannot."""
    event = getattr(BACKENDS.get(kind), "Event", None)
    if event is None:
        return None
    try:
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        end.record()
        end.synchronize()
        start.elapsed_time(end)
    except (AttributeError, RuntimeError, TypeError):
        # Some drivers have events without times.
        return None
    return event


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type != "cpu":
        # DirectML has no call for it, but every device works in order: what is asked for last is there last.
        torch.zeros(1, device=device).cpu()
