"""Network time per evaluation, without making the device wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .report import StepRecord


class Clock:
    """Adds the milliseconds of network calls to step records; on CUDA they are known after `finish`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[tuple[StepRecord, torch.cuda.Event, torch.cuda.Event]] = []
        self._cuda = torch.cuda.is_available()

    @contextmanager
    def measure(self, record: StepRecord) -> Iterator[None]:
        """Measure what runs inside the block."""
        if self._cuda:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            yield
            end.record()
            self._pending.append((record, start, end))
        else:
            started = time.perf_counter()
            yield
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
