"""The keyframes that cost the least: dynamic programming over all budgets at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

# cost(before, last, next): of the steps between two neighbouring keyframes, given the keyframe before them.
SegmentCost = Callable[[int, int, int], float]


class CostModel(Protocol):
    """The costs of a run by its flow times (N + 1) and by how much an error of each step (N) counts, if known."""

    def __call__(self, times: Sequence[float], weight: Sequence[float] = (), /) -> SegmentCost: ...


def best_keyframes(steps: int, cost: SegmentCost, longest_gap: int) -> list[tuple[int, ...]]:
    """Return, for each number of keyframes from 1 to `steps`, the keyframes with the least total cost.

    The first step is always one. `cost(p, a, b)` is the cost of the steps between keyframes `a` and `b`
    when `p` is the keyframe before `a` (`p == a` at the first); `b == steps` stands for the end of the run.
    Gaps are at most `longest_gap`; a number that cannot be reached with them gives an empty tuple
    (docs/math.md, equations 2.1 and 2.5).
    """
    gaps = range(1, min(longest_gap, steps) + 1)
    # best[a, g, k]: least cost so far with keyframe a, g steps after the one before it (0 at the first), k keyframes.
    best = np.full((steps, len(gaps) + 1, steps + 1), np.inf)
    came_from = np.zeros(best.shape, dtype=np.int32)
    total = np.full(steps + 1, np.inf)
    ends = np.zeros((steps + 1, 2), dtype=np.int32)
    best[0, 0, 1] = 0.0
    for a in range(steps):
        for g in range(len(gaps) + 1):
            if not np.isfinite(best[a, g]).any():
                continue
            for gap in gaps:
                if a + gap > steps:
                    break
                reached = best[a, g] + cost(a - g, a, a + gap)
                if a + gap == steps:
                    better = reached < total
                    total[better], ends[better] = reached[better], (a, g)
                else:
                    shifted = np.concatenate(([np.inf], reached[:-1]))
                    better = shifted < best[a + gap, gap]
                    best[a + gap, gap][better], came_from[a + gap, gap][better] = shifted[better], g
    return [_path(k, ends[k], came_from) if np.isfinite(total[k]) else () for k in range(1, steps + 1)]


def _path(count: int, end: np.ndarray, came_from: np.ndarray) -> tuple[int, ...]:
    """The keyframes that lead to `end` (2,), a keyframe and the gap before it, by `came_from` (N, G + 1, N + 1)."""
    a, g = (int(value) for value in end)
    path = [a]
    for k in range(count, 1, -1):
        a, g = a - g, int(came_from[a, g, k])
        path.append(a)
    return tuple(reversed(path))
