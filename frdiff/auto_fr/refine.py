"""Better schedules by trying them: real runs of a plan, against recorded full ones."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..schedule import Plan, StepKind, plan_of

# How far a keyframe is moved at once, and how many of the moves that the search likes best are tried.
REACH = 3
TRIED = 12

# The logarithm of a plan's error on the recorded runs.
Objective = Callable[[Plan], float]


@dataclass(frozen=True)
class Move:
    """An accepted change of keyframes, and the relative error of the final latent after it."""

    keyframes: tuple[int, ...]
    error: float


def climb(
    plan: Plan, error: float, objective: Objective, expected: Callable[[tuple[int, ...]], float], until: float
) -> tuple[Plan, float, list[Move]]:
    """Move one keyframe at a time while that makes the run better, until a time of `time.monotonic`.

    `expected` ranks the moves, so that the likely ones are tried first. Returns the plan, its error, and the moves.
    """
    tried, moves = {keyframes_of(plan)}, []
    while True:
        options = [option for option in neighbours(keyframes_of(plan), len(plan)) if option not in tried]
        for option in sorted(options, key=expected)[:TRIED]:
            if time.monotonic() >= until:
                return plan, error, moves
            tried.add(option)
            candidate = with_keyframes(option, plan)
            reached = objective(candidate)
            if reached < error:
                plan, error = candidate, reached
                moves.append(Move(option, math.exp(error)))
                break
        else:
            return plan, error, moves


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


def keyframes_of(plan: Plan) -> tuple[int, ...]:
    """The full steps of a plan."""
    return tuple(i for i, step in enumerate(plan) if step.kind is StepKind.FULL)


def with_keyframes(keyframes: Sequence[int], like: Plan) -> Plan:
    """A plan with these full steps, and between them what `like` has between its own."""
    between = next((step.kind for step in like if step.kind is not StepKind.FULL), StepKind.SKIP)
    return plan_between(keyframes, len(like), between)


def plan_between(keyframes: Sequence[int], steps: int, between: StepKind) -> Plan:
    """A plan with these full steps and one kind between them."""
    full = set(keyframes)
    return plan_of([(StepKind.FULL if i in full else between, 1.0) for i in range(steps)])
