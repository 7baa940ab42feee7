"""What part of the evaluation's latent a network call is about, or which earlier input its own goes on from."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from ..tensors import is_plain, tensors_in
from ..typed import norm
from .probes import (
    NOWHERE,
    TINY,
    Positions,
    Window,
    found,
    indices_of,
    is_latent,
    probes_of,
    read,
    rest_of,
    sampled,
    samples_of,
    scale_of,
    shown_by,
    taken,
)

# An input goes on from another when it has moved at most so much, in proportion to how the latent itself moved; and
# never when it moved further than this: two places of a noisy latent are about 1.4 apart.
AS_FAR, SLACK, FARTHEST = 2.0, 0.02, 0.7
# Inputs that lie nowhere and are told apart, for each kind of call.
BRANCHES = 64
# Conditions and scales are the same where they differ by at most so much, relatively: some packs make them anew.
ALIKE = 0.05
T = TypeVar("T")


@dataclass(frozen=True)
class _Sight:
    """What was seen of an input (P, C), its part that is not the latent's, and of the latent (P', C), at that time."""

    input: torch.Tensor
    own: torch.Tensor
    latent: torch.Tensor
    evaluation: int

    def distance(self, earlier: _Sight) -> float:
        """How far its own part is from an earlier one, in the input's size; infinite where it does not go on from it.

        All is in proportion to the latent, whose noise becomes less.
        """
        if self.own.shape != earlier.own.shape or self.latent.shape != earlier.latent.shape:
            return float("inf")
        now, before = (norm(sight.latent).clamp(min=TINY) for sight in (self, earlier))
        of_latent = _apart(self.latent / now, earlier.latent / before, self.latent / now)
        moved = _apart(self.own / now, earlier.own / before, self.input / now)
        return moved if moved <= min(AS_FAR * of_latent + SLACK, FARTHEST) else float("inf")


@dataclass
class _Known:
    """What is known of one kind of call.

    What its conditions were, and how many times larger than the latent its inputs; where these lay in the evaluation
    before, by their order; and the inputs that lie nowhere, or may lie at several places, and are told apart by going
    on from each other.
    """

    asked: int = 0
    conditions: list[list[torch.Tensor]] = field(default_factory=list[list[torch.Tensor]])
    scales: list[float] = field(default_factory=lambda: [1.0])
    guesses: dict[int, Positions] = field(default_factory=dict[int, Positions])
    branches: dict[Hashable, dict[int, _Sight]] = field(default_factory=dict[Hashable, dict[int, _Sight]])


class Places:
    """Tells calls of the same kind apart by what they are about.

    A few probes of the input and of the conditions are looked at, with one read from the device where the input lies as
    the one of its order did in the evaluation before, and a second where it has moved. An input that lies nowhere,
    since noise or something else was added, belongs to the one of its kind that it goes on from; else it is a new one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._evaluation = 0
        self._x: torch.Tensor | None = None
        self._known: dict[Hashable, _Known] = {}
        # The evaluation in which each place of a kind was first seen.
        self._first: dict[Hashable, dict[Hashable, int]] = {}
        self._indices: dict[Hashable, tuple[torch.Tensor, ...]] = {}

    def begin(self, x: object) -> None:
        """Begin an evaluation with input `x` (B, C, ...); where it is None the first call's input stands for it."""
        with self._lock:
            self._evaluation += 1
            self._x = x if is_latent(x) else None
            for known in self._known.values():
                known.asked = 0

    def of(
        self, kind: Hashable, x: object, conditioning: object = None, window: Window = None
    ) -> tuple[Hashable, bool]:
        """What a call with input `x` (R, C, ...) is about, the same in every run, and whether that is new for its kind.

        That is which of the kind's conditions it was given, by the tensors in `conditioning`, and the place of its
        input. None is the first conditions and the whole latent, once for each, or what cannot be looked at. Inputs of
        different windows, which the host tells, are looked at apart from each other, and where these say that they lie.
        """
        with self._lock:
            if self._x is None and is_latent(x):
                self._x = x
            known = self._known.setdefault((kind, window), _Known())
            condition, place = self._condition_and_place(known, x, conditioning, window)
            places = self._first.setdefault((kind, condition), {})
            first = places.setdefault((window, place), self._evaluation)
            return (condition, place) if condition else place, first == self._evaluation and len(places) > 1

    def _condition_and_place(
        self, known: _Known, x: object, conditioning: object, window: Window
    ) -> tuple[int, Hashable]:
        parts = [self._sampled(each) for each in tensors_in(conditioning) if is_plain(each)]
        count, latent, guess = len(parts), self._x, known.guesses.get(known.asked, ())
        if not guess and window and is_latent(x) and latent is not None:
            guess = known.guesses[known.asked] = shown_by(window, x.shape, latent.shape)
        known.asked += 1
        if is_latent(x) and latent is not None:
            looked_at = [(x, probes_of(x.shape)), (latent, probes_of(latent.shape))] + [(latent, guess)] * bool(guess)
            parts += [self._taken(*each) for each in looked_at]
        seen = read(parts)
        condition = _index_of(seen[:count], known.conditions, _alike)
        place = self._place(known, x, latent, seen[count:], guess) if is_latent(x) and latent is not None else None
        return condition, place

    def _place(
        self, known: _Known, x: torch.Tensor, latent: torch.Tensor, seen: list[torch.Tensor], guess: Positions
    ) -> Hashable:
        """The place of an input by what was seen of it (P, C), of the latent, and at the guessed place."""
        own, of_latent, *at_guess = seen
        there: list[tuple[Positions | None, torch.Tensor]] = [(guess, each) for each in at_guess]
        if x.shape[1:] == latent.shape[1:]:
            # The latent's rows, once for each condition.
            rows = torch.arange(len(x)) % len(latent)
            channels = of_latent.shape[1]
            there.insert(0, (None, of_latent.reshape(len(latent), -1, channels)[rows].reshape(-1, channels)))
        for place, values in there:
            scale = scale_of(own, values)
            if scale is not None:
                return _named(place, _index_of(scale, known.scales, _near))
        positions, certain = found(own, latent)
        if certain and NOWHERE not in positions:
            known.guesses[known.asked - 1] = positions
            return positions
        own, values = own.double(), there[0][1].double() if there else torch.zeros_like(own).double()
        sight = _Sight(own, rest_of(own, values), of_latent.double(), self._evaluation)
        # Of what was changed here and there, chance says which probes are as they were.
        place = None if NOWHERE in positions else positions
        return place, "goes on", _branch_of(known.branches.setdefault(place, {}), sight)

    def _taken(self, x: torch.Tensor, positions: Positions) -> torch.Tensor:
        """What an input (R, C, ...) is at P positions: (P, C)."""
        return taken(x, self._indices_of(positions, x.shape[:1] + x.shape[2:], x.device))

    def _sampled(self, tensor: torch.Tensor) -> torch.Tensor:
        """Some numbers (N, M) of a condition's tensor (N, ...)."""
        sizes = tensor.shape[1:]
        return sampled(tensor, self._indices_of(samples_of(sizes), sizes, tensor.device) if sizes else ())

    def _indices_of(self, *key: Any) -> tuple[torch.Tensor, ...]:
        """What picks P positions, (P,) for each dimension; made once."""
        if key not in self._indices:
            self._indices[key] = indices_of(*key)
        return self._indices[key]


def _index_of(value: T, known: list[T], alike: Callable[[T, T], bool]) -> int:
    """Which of the known ones it is like; where it is none, it is added."""
    index = next((i for i, each in enumerate(known) if alike(value, each)), len(known))
    if index == len(known):
        known.append(value)
    return index


def _near(scale: float, other: float) -> bool:
    return abs(math.log(scale / other)) <= ALIKE


def _alike(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    """Whether two conditions are the same, by numbers (N, M) of each of their tensors."""
    if [each.shape for each in a] != [each.shape for each in b]:
        return False
    return all(torch.allclose(one, other, 0, 0, equal_nan=True) or _apart(one, other, one) <= ALIKE
               for one, other in zip(a, b, strict=True))  # fmt: skip


def _named(place: Hashable, scale: int) -> Hashable:
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


def _apart(now: torch.Tensor, before: torch.Tensor, size: torch.Tensor) -> float:
    """The distance of two tensors (P, C) or (N, M), relative to the size of a third."""
    return float(norm(now - before) / norm(size).clamp(min=TINY))
