"""Better schedules by trying them: real runs of a plan, against recorded full ones."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..planning.plan import Plan, StepKind
from ..schedule_files.model import Move

# How far a keyframe is moved at once, and how many of the moves that the search likes best are tried.
REACH = 3
TRIED = 12

# The logarithms of plans' errors on the recorded runs, plan by plan; those not asked for need not be known.
Logs = Callable[[list[Plan]], Iterator[np.ndarray]]


def climb(
    plan: Plan, logs: np.ndarray, logs_of: Logs, expected: Callable[[tuple[int, ...]], float], until: float,
    most: int | None = None,
) -> tuple[Plan, np.ndarray, list[Move]]:  # fmt: skip
    """Move one keyframe at a time while that makes the runs better on average.

    It ends at a time of `time.monotonic`, and when as many plans as `most` have been tried. `expected` ranks the
    moves, so that the likely ones are tried first. Returns the plan, the logarithms (R,) of its errors on R runs, and
    the moves; `logs` (R,) are those of the plan to start from.
    """
    tried, moves = {plan.keyframes}, []
    while True:
        options = [option for option in neighbours(plan.keyframes, len(plan)) if option not in tried]
        options = sorted(options, key=expected)[:TRIED]
        candidates = [_with_keyframes(option, plan) for option in options]
        found = logs_of(candidates)
        for option, candidate in zip(options, candidates, strict=True):
            if time.monotonic() >= until or (most is not None and len(tried) > most):
                return plan, logs, moves
            tried.add(option)
            reached = next(found)
            if reached.mean() < logs.mean():
                moves.append(_move(plan.keyframes, option, math.exp(reached.mean())))
                plan, logs = candidate, reached
                break
        else:
            return plan, logs, moves


def _move(keyframes: tuple[int, ...], moved: tuple[int, ...], error: float) -> Move:
    (before,), (after,) = set(keyframes) - set(moved), set(moved) - set(keyframes)
    return Move(len(keyframes), before, after, error)


def neighbours(keyframes: tuple[int, ...], steps: int) -> list[tuple[int, ...]]:
    """Keyframes with one of them, not the first, moved by up to REACH steps."""
    taken = set(keyframes)
    found = {
        tuple(sorted(taken - {keyframe} | {to}))
        for keyframe in keyframes[1:]
        for to in range(max(keyframe - REACH, 1), min(keyframe + REACH, steps - 1) + 1)
        if to not in taken
    }
    return sorted(found)


def _with_keyframes(keyframes: Sequence[int], like: Plan) -> Plan:
    """A plan with these full steps, and between them what `like` has between its own."""
    between = next((kind for kind in like.kinds if kind is not StepKind.FULL), StepKind.SKIP)
    return Plan.with_keyframes(keyframes, len(like), between)
