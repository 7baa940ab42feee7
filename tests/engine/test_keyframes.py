"""The dynamic programming finds what trying everything finds."""

from itertools import combinations

import pytest

from frdiff.planning.keyframes import best_keyframes

pytestmark = pytest.mark.quick

STEPS = 9


def cost(before, last, following):
    return sum(((step - last) * (step - before + 1) + (step * 7) % 5) ** 1.3 for step in range(last + 1, following))


def total(keyframes):
    before = (keyframes[0], *keyframes)
    return sum(
        cost(p, a, b) for p, a, b in zip(before, keyframes, (*keyframes[1:], STEPS), strict=False)
    )


@pytest.mark.parametrize("longest_gap", [3, STEPS])
def test_every_budget_is_the_best_of_all_choices(longest_gap):
    fronts = best_keyframes(STEPS, cost, longest_gap)
    for count in range(1, STEPS + 1):
        choices = [(0, *rest) for rest in combinations(range(1, STEPS), count - 1)]
        allowed = [c for c in choices if all(b - a <= longest_gap for a, b in zip(c, (*c[1:], STEPS), strict=True))]
        found = fronts[count - 1]
        if not allowed:
            assert found == ()
        else:
            assert len(found) == count and total(found) == pytest.approx(min(map(total, allowed)))
