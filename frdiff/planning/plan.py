"""A plan: what is done at each evaluation of a run, as immutable data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property


class StepKind(Enum):
    """How much of the network runs at a step."""

    FULL = "full"
    PARTIAL = "partial"
    SKIP = "skip"


@dataclass(frozen=True)
class StepPlan:
    """One evaluation: its kind, the weight `mix` (lambda) of the fresh score, and whether stages are remembered."""

    kind: StepKind
    mix: float = 1.0
    keeps_stages: bool = False


@dataclass(frozen=True)
class Plan:
    """One StepPlan for each evaluation, and the solver step that each evaluation belongs to.

    Without `step_of_evaluation` there is one evaluation for each step, or as many follow the step's plan as there are.
    """

    evaluations: tuple[StepPlan, ...] = ()
    step_of_evaluation: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.step_of_evaluation:
            object.__setattr__(self, "step_of_evaluation", tuple(range(len(self.evaluations))))

    @classmethod
    def of(
        cls, kinds: Iterable[StepKind], mix: Sequence[float] | None = None, step_of_evaluation: tuple[int, ...] = ()
    ) -> Plan:
        """A plan from kinds and mixing weights; stages are remembered only where a partial step follows."""
        listed = tuple(kinds)
        weights = mix or [1.0] * len(listed)
        return cls(
            tuple(
                StepPlan(kind, weight, keeps_stages=kind is StepKind.FULL and _partial_follows(listed[place + 1 :]))
                for place, (kind, weight) in enumerate(zip(listed, weights, strict=True))
            ),
            step_of_evaluation,
        )

    @classmethod
    def with_keyframes(
        cls, keyframes: Iterable[int], length: int, between: StepKind = StepKind.SKIP,
        step_of_evaluation: tuple[int, ...] = (),
    ) -> Plan:  # fmt: skip
        """A plan of so many evaluations with these full ones and one kind between them."""
        full = set(keyframes)
        kinds = [StepKind.FULL if place in full else between for place in range(length)]
        return cls.of(kinds, step_of_evaluation=step_of_evaluation)

    def __len__(self) -> int:
        return len(self.evaluations)

    def __iter__(self) -> Iterator[StepPlan]:
        return iter(self.evaluations)

    def __getitem__(self, place: int) -> StepPlan:
        return self.evaluations[place]

    @cached_property
    def by_evaluation(self) -> bool:
        """Whether a step has several evaluations with plans of their own."""
        return len(set(self.step_of_evaluation)) < len(self.evaluations)

    @cached_property
    def kinds(self) -> tuple[StepKind, ...]:
        """The kind of each evaluation."""
        return tuple(step.kind for step in self.evaluations)

    @property
    def keyframes(self) -> tuple[int, ...]:
        """The full evaluations."""
        return tuple(place for place, kind in enumerate(self.kinds) if kind is StepKind.FULL)

    @property
    def counts(self) -> dict[StepKind, int]:
        """How many evaluations of each kind there are."""
        kinds = self.kinds
        return {kind: kinds.count(kind) for kind in StepKind}

    @cached_property
    def longest_gap(self) -> int:
        """The greatest number of evaluations from one full one to the next; 1 without any."""
        full = self.keyframes
        ends = [*full[1:], len(self)] if full else []
        return max((end - start for start, end in zip(full, ends, strict=True)), default=1)

    @cached_property
    def keeps_stages(self) -> bool:
        """Whether stages are remembered anywhere."""
        return any(step.keeps_stages for step in self.evaluations)

    @cached_property
    def reuses(self) -> bool:
        """Whether anything that is remembered is used again."""
        return self.keeps_stages or any(kind is not StepKind.FULL for kind in self.kinds)

    def cost(self, partial_cost: float) -> float:
        """What it costs over a run in full, a partial evaluation costing `partial_cost` of a full one.

        See docs/math.md, equation 5.4.
        """
        return self._full_evaluations(partial_cost) / len(self)

    def speedup(self, partial_cost: float) -> float:
        """The inverse of that."""
        return len(self) / self._full_evaluations(partial_cost)

    def _full_evaluations(self, partial_cost: float) -> float:
        counts = self.counts
        return counts[StepKind.FULL] + partial_cost * counts[StepKind.PARTIAL]


def _partial_follows(later: Iterable[StepKind]) -> bool:
    """Whether a partial step comes before the next full one."""
    return next((kind for kind in later if kind is not StepKind.SKIP), None) is StepKind.PARTIAL
