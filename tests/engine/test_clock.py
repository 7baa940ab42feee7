"""Network time on devices that work behind the program's back, by small stand-ins for them."""

import time
from types import SimpleNamespace

import pytest
import torch

from frdiff.reporting.record import StepRecord
from frdiff.runtime import clock

pytestmark = pytest.mark.quick


def record():
    return StepRecord(0, 1.0, "full", "full", 1.0)


class Device:
    """A device whose events know their time once they have been waited for."""

    def __init__(self, ms):
        device = self
        self.ms, self.now, self.waited = ms, 0.0, 0

        class Event:
            def __init__(self, enable_timing=False):
                self.at, self.known = None, False

            def record(self):
                self.at = device.now

            def synchronize(self):
                device.waited += 1
                self.known = True

            def elapsed_time(self, end):
                assert end.known
                return end.at - self.at

        self.Event = Event

    def work(self):
        self.now += self.ms


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu", "npu"])
def test_a_device_that_notes_the_time_is_not_waited_for(monkeypatch, kind):
    device, record_ = Device(40.0), record()
    monkeypatch.setitem(clock.BACKENDS, kind, device)
    watch = clock.Clock()
    for _ in range(2):
        with watch.measure(record_, SimpleNamespace(type=kind)):
            device.work()
    # Once, to see whether it can.
    assert device.waited == 1
    watch.finish()
    assert record_.ms == 80.0


class Timeless(Device):
    """A device whose events cannot tell the time, as those of older XPU drivers."""

    def __init__(self, error):
        super().__init__(0.0)

        def elapsed_time(event, end):
            raise error

        self.Event.elapsed_time = elapsed_time


@pytest.mark.parametrize("backend", [None, SimpleNamespace(), Timeless(NotImplementedError()), Timeless(TypeError())])
def test_any_other_device_is_waited_for(monkeypatch, backend):
    waits, record_ = [], record()

    def wait_for(device):
        waits.append(device.type)
        time.sleep(0.02 * (len(waits) == 2))

    monkeypatch.setitem(clock.BACKENDS, "privateuseone", backend)
    monkeypatch.setattr(clock, "wait_for", wait_for)
    watch = clock.Clock()
    with watch.measure(record_, SimpleNamespace(type="privateuseone")):
        assert waits == ["privateuseone"]
    watch.finish()
    # What the device had still to do is part of the time.
    assert len(waits) == 2 and record_.ms >= 20


def test_waiting_reads_back_what_was_asked_for_last(monkeypatch):
    read = []
    made = {"xpu:1": SimpleNamespace(cpu=lambda: read.append("xpu:1"))}
    with monkeypatch.context() as patched:
        patched.setattr(torch, "zeros", lambda size, device: made[str(device)])
        clock.wait_for(torch.device("cpu"))
        clock.wait_for(torch.device("xpu:1"))
    assert read == ["xpu:1"]
