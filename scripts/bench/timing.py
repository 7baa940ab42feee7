"""Runs, timed side by side, and the work that the network really did in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

# A run of one method: seed and positive CONDITIONING to a latent, and FRDiff's report where there is one.
Run = Callable[[int, Any], tuple[torch.Tensor, Any]]


@dataclass(frozen=True)
class Timed:
    """One run: its latent and report, seconds, calls that the network computed, and peak device memory in bytes."""

    latent: torch.Tensor
    report: Any
    seconds: float
    calls: int
    peak_bytes: int | None


class CallCounter:
    """Counts the calls in which a network reaches its last layer: a skipped call does not, a partial one does."""

    def __init__(self, network: torch.nn.Module, run: Callable[[], Any]) -> None:
        self.calls = 0
        self._handle = last_layer(network, run).register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.calls += 1

    def close(self) -> None:
        """Take the hook off the network."""
        self._handle.remove()


def last_layer(network: torch.nn.Module, run: Callable[[], Any]) -> torch.nn.Module:
    """The layer without children that is entered last while `run()` calls the network."""
    entered: list[torch.nn.Module] = []
    layers = [module for module in network.modules() if not any(module.children())]
    handles = [layer.register_forward_pre_hook(lambda module, _: entered.append(module)) for layer in layers]
    try:
        with torch.inference_mode():
            run()
    finally:
        for handle in handles:
            handle.remove()
    if not entered:
        raise RuntimeError(f"No layer of {type(network).__name__} was entered, so its calls cannot be counted.")
    return entered[-1]


@contextmanager
def counted_calls(network: torch.nn.Module, run: Callable[[], Any]) -> Iterator[CallCounter]:
    """A CallCounter for the time of the block; `run()` is a short uncached run that shows the layers' order."""
    counter = CallCounter(network, run)
    try:
        yield counter
    finally:
        counter.close()


def floating_operations(run: Callable[[], Any]) -> int:
    """Floating point operations of the matrix products, convolutions and attention inside `run()`."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def work_per_call(run: Callable[[], Any], counter: CallCounter) -> float:
    """Floating point operations per computed network call, from a run that is not timed."""
    before = counter.calls
    operations = floating_operations(run)
    return operations / (counter.calls - before)


def timed(run: Run, seed: int, positive: Any, counter: CallCounter) -> Timed:
    """Run once; the clock starts and stops with nothing left to do on the device."""
    cuda = torch.cuda.is_initialized()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = counter.calls
    started = time.perf_counter()
    with torch.inference_mode():
        latent, report = run(seed, positive)
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() if cuda else None
    return Timed(latent.float().cpu(), report, seconds, counter.calls - before, peak)


def interleaved(
    runs: Mapping[str, Run], positives: Sequence[Any], rounds: int, counter: CallCounter
) -> list[dict[str, Timed]]:
    """`rounds` rounds in which every method runs once with the round's seed and prompt.

    The order turns by one from round to round, so that no method always runs after the same other one.
    """
    names = list(runs)
    table = []
    for seed in range(rounds):
        turn = seed % len(names)
        order = names[turn:] + names[:turn]
        table.append({name: timed(runs[name], seed, positives[seed % len(positives)], counter) for name in order})
    return table


def relative_time(rounds: Sequence[Mapping[str, Timed]], name: str, reference: str = "plain") -> float:
    """Median over the rounds of a method's seconds divided by the reference's in the same round."""
    return median(each[name].seconds / each[reference].seconds for each in rounds)
