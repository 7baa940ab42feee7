"""What part of the evaluation's latent a network call is about, or which earlier input its own goes on from."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass, field

import torch

from ..typed import norm
from .probes import NOWHERE, Positions, found, indices_of, is_latent, probes_of, read, scale_of, taken

# An input goes on from another when it has moved at most so much, in proportion to how the latent itself moved; and
# never when it moved further than this: two places of a noisy latent are about 1.4 apart.
AS_FAR, SLACK, FARTHEST = 2.0, 0.02, 0.7
# Inputs that lie nowhere and are told apart, for each kind of call.
BRANCHES = 64
TINY = 1e-30


@dataclass(frozen=True)
class _Sight:
    """What was seen of an input (P, C), and of the latent (P', C) at that time, in the evaluation of this number."""

    input: torch.Tensor
    latent: torch.Tensor
    evaluation: int

    def distance(self, earlier: _Sight) -> float:
        """How far the input is from an earlier one, in its own size; infinite where it does not go on from that."""
        if self.input.shape != earlier.input.shape or self.latent.shape != earlier.latent.shape:
            return float("inf")
        sizes = [norm(sight.latent).clamp(min=TINY) for sight in (self, earlier)]
        moved = [_apart(now / sizes[0], before / sizes[1])
                 for now, before in ((self.input, earlier.input), (self.latent, earlier.latent))]  # fmt: skip
        return moved[0] if moved[0] <= min(AS_FAR * moved[1] + SLACK, FARTHEST) else float("inf")


@dataclass
class _Known:
    """What is known of one kind of call.

    Where its inputs lay in the evaluation before, by their order; the evaluation in which a place was first seen; and
    by place, NOWHERE in some of it, the inputs that are told apart by going on from each other.
    """

    asked: int = 0
    guesses: dict[int, Positions] = field(default_factory=dict[int, Positions])
    places: dict[Hashable, int] = field(default_factory=dict[Hashable, int])
    branches: dict[Positions, dict[int, _Sight]] = field(default_factory=dict[Positions, dict[int, _Sight]])


class Places:
    """Tells calls of the same kind apart by what they are about.

    A few probes of the input are looked at, with one read from the device where it lies as the one of its order did in
    the evaluation before, and a second where it has moved. An input that lies nowhere, since it was scaled or noise
    was added, belongs to the one of its kind that it goes on from; else it is a new one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._evaluation = 0
        self._x: torch.Tensor | None = None
        self._known: dict[Hashable, _Known] = {}
        self._indices: dict[Hashable, tuple[torch.Tensor, ...]] = {}

    def begin(self, x: object) -> None:
        """Begin an evaluation with input `x` (B, C, ...); where it is None the first call's input stands for it."""
        with self._lock:
            self._evaluation += 1
            self._x = x if is_latent(x) else None
            for known in self._known.values():
                known.asked = 0

    def of(self, kind: Hashable, x: object) -> tuple[Hashable, bool]:
        """The place of a call's input (R, C, ...), the same in every run, and whether its kind was elsewhere before.

        None is the whole latent, once for each condition, and what cannot be looked at.
        """
        if not is_latent(x):
            return None, False
        with self._lock:
            if self._x is None:
                self._x = x
            known = self._known.setdefault(kind, _Known())
            place = self._place(known, x, self._x)
            first = known.places.setdefault(place, self._evaluation)
            return place, first == self._evaluation and any(each < first for each in known.places.values())

    def _place(self, known: _Known, x: torch.Tensor, latent: torch.Tensor) -> Hashable:
        whole = probes_of(latent.shape, len(x)) if x.shape[1:] == latent.shape[1:] else ()
        order, known.asked = known.asked, known.asked + 1
        guess = known.guesses.get(order, whole)
        parts = [self._taken(x, probes_of(x.shape, len(x))), self._taken(latent, probes_of(latent.shape, len(latent)))]
        parts += [self._taken(latent, guess)] if guess else []
        own, of_latent, *at_guess = read(parts)
        scale = scale_of(own, *at_guess) if at_guess else None
        if scale is not None:
            return _named(guess, whole, scale)
        positions, certain = found(own, latent)
        certain = certain and NOWHERE not in positions
        if certain:
            known.guesses[order] = positions
            return _named(positions, whole, 0)
        sight = _Sight(own.double(), of_latent.double(), self._evaluation)
        return positions, _branch_of(known.branches.setdefault(positions, {}), sight)

    def _taken(self, x: torch.Tensor, positions: Positions) -> torch.Tensor:
        key = x.shape, x.device, positions
        if key not in self._indices:
            self._indices[key] = indices_of(positions, x)
        return taken(x, self._indices[key])


def _named(positions: Positions, whole: Positions, scale: int) -> Hashable:
    place = None if positions == whole else positions
    return (place, scale) if scale else place


def _branch_of(branches: dict[int, _Sight], sight: _Sight) -> int:
    """The number of the branch that an input goes on from, or of a new one; which is where it now stands."""
    distances = {number: sight.distance(earlier) for number, earlier in branches.items()}
    nearest = min(distances, key=lambda number: distances[number], default=-1)
    if nearest < 0 or distances[nearest] == float("inf"):
        nearest = max(branches, default=-1) + 1
        if len(branches) >= BRANCHES:
            branches.pop(min(branches, key=lambda number: branches[number].evaluation))
    branches[nearest] = sight
    return nearest


def _apart(now: torch.Tensor, before: torch.Tensor) -> float:
    """The distance of two tensors of one shape, relative to the first."""
    return float(norm(now - before) / norm(now).clamp(min=TINY))
