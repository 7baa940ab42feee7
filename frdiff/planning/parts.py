"""A run that is sampled in parts, as with two networks: its one budget goes where a skipped step costs most."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from .keyframes import CostModel, SegmentCost, best_keyframes

Times = tuple[float, ...]


@lru_cache(maxsize=32)
def shared(parts: tuple[Times, ...], count: int, cost_model: CostModel, longest_gap: int) -> tuple[int, ...]:
    """How many of `count` full steps each part gets, so that all cost least together (docs/math.md, equation 2.7).

    `parts` are the flow times of each, one more than it has steps. A part's first step is always one of them, because
    nothing is remembered from the part before it. Every part of a run comes to the same numbers by itself.
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for times in parts:
        longer: dict[int, tuple[float, tuple[int, ...]]] = {}
        for own, more in _least_costs(times, cost_model(times), longest_gap).items():
            for used, (cost, numbers) in best.items():
                option = cost + more, (*numbers, own)
                longer[used + own] = min(longer.get(used + own, option), option)
        best = longer
    return best[min(number for number in best if number >= count)][1]


def _least_costs(times: Sequence[float], cost: SegmentCost, longest_gap: int) -> dict[int, float]:
    """The least cost of a part by its number of full steps, of those that can be had."""
    steps = len(times) - 1
    return {len(front): _total(front, steps, cost) for front in best_keyframes(steps, cost, longest_gap) if front}


def _total(keyframes: tuple[int, ...], steps: int, cost: SegmentCost) -> float:
    ends = [keyframes[0], *keyframes, steps]
    return sum(cost(*ends[place : place + 3]) for place in range(len(keyframes)))
