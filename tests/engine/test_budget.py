"""A budget that is too small: less is remembered, step by step, and the run goes on."""

from unittest import mock

import pytest
import torch
from driver import call, lasting, start

from frdiff.blocks import families
from frdiff.blocks.families import Family
from frdiff.blocks.stages import find_stages
from frdiff.planning.paper import PaperSchedule
from frdiff.planning.schedule import RunOptions
from frdiff.runtime.budget import fitting, work

pytestmark = pytest.mark.quick

SIGMAS = [8.0, 6.0, 4.0, 3.0, 2.0, 1.0, 0.0]
# Of one remembered block: 2 positions of width 4 in single precision.
BLOCK = 2 * 4 * 4


class Branch(torch.nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.weights = torch.nn.ParameterList([torch.eye(4) * 0.1 for _ in range(layers)])

    def forward(self, x):
        for weight in self.weights:
            x = x @ weight
        return x


class Block(torch.nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.one, self.two = Branch(layers), Branch(layers)
        self.computed = 0

    def forward(self, x):
        self.computed += 1
        x = x + self.one(x)
        return x + self.two(x)


class Network(torch.nn.Module):
    """Three blocks, of which the middle one works most."""

    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block(1), Block(3), Block(2)])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


FAMILIES = {f"{__name__}.Block": Family(((0, "x"),), branches=("one", "two"))}


def run(schedule, keys=("cond",), sigmas=SIGMAS, **options):
    network = Network()
    session, counts = start(schedule, sigmas, FAMILIES, **options), []
    for sigma in sigmas[:-1]:
        before = [block.computed for block in network.blocks]
        session.begin_evaluation(sigma)
        for number, key in enumerate(keys(sigma) if callable(keys) else keys):
            x = torch.linspace(-1, 1, 8).reshape(2, 4) + sigma / 10 + number
            with torch.no_grad():
                call(session, key, network, lambda x=x: network(x))
        counts.append([block.computed - b for block, b in zip(network.blocks, before, strict=True)])
    return counts, session.close()


def paper(blocks, **options):
    return PaperSchedule("", RunOptions(budget_mb=blocks * BLOCK / 1e6, **options), mixing=False)


FULL, NONE = [1, 1, 1], [0, 0, 0]


@pytest.mark.parametrize(
    "blocks, first, later",
    # At first what comes first is kept, and from the next keyframe on what saves most.
    [(3, NONE, NONE), (2, [0, 0, 1], [1, 0, 0]), (1, [0, 1, 1], [1, 0, 1]), (0.9, FULL, FULL), (0, FULL, FULL)],
)
def test_what_saves_most_for_its_size_is_kept(blocks, first, later):
    counts, report = run(paper(blocks))
    assert counts == [FULL, first, FULL, later, FULL, later]
    assert report.bytes_kept <= (blocks + 1) * BLOCK
    told = [reason.sentence for reason in report.reasons if "budget" in reason.code]
    assert len(lasting(report)) == len(told) == (blocks < 3)
    assert not told or f"holds {int(blocks)} of 3 stages" in told[0]


def test_the_budget_is_for_all_conditions_together():
    counts, report = run(paper(4), keys=("cond", "uncond"))
    assert counts[3] == [2, 0, 0] and "holds 2 of 3 stages" in report.text()


def test_branches_are_given_up_for_whole_blocks():
    counts, report = run(paper(3, branches=True))
    # Half of the branches fit, the blocks around them are entered.
    assert counts == [FULL, FULL, FULL, NONE, FULL, NONE]
    assert "whole blocks" in report.text()
    counts, report = run(paper(1, branches=True))
    assert counts[-1] == [1, 0, 1] and len(lasting(report)) == 1 and "holds 1 of 3" in report.text()
    assert not lasting(run(paper(6, branches=True))[1])


def test_conditions_that_are_gone_leave_their_place():
    counts, report = run(paper(3), keys=lambda sigma: ("first",) if sigma > 4 else ("second",))
    assert counts[3] == counts[5] == NONE and not lasting(report)


def test_the_choice_is_by_work_for_each_byte():
    stages = find_stages(Network(), FAMILIES)
    assert [work(stage, 4) for stage in stages] == [2 * 16, 6 * 16, 4 * 16]
    needs = {"blocks.0": 10, "blocks.1": 30, "blocks.2": 20}
    chosen = {room: sorted(fitting(stages, needs, room)) for room in (60, 50, 40, 20, 9)}
    assert chosen[60] == ["blocks.0", "blocks.1", "blocks.2"] and chosen[50] == ["blocks.1", "blocks.2"]
    assert chosen[40] == ["blocks.0", "blocks.1"] and chosen[20] == ["blocks.2"] and chosen[9] == []


class Exhausted(Exception):
    pass


def test_two_calls_may_run_out_of_memory_at_once():
    """Each of two threads tries again; a call that began after what was remembered was freed does not."""
    session = start(paper(3), SIGMAS, FAMILIES, is_exhausted=lambda error: isinstance(error, Exhausted))
    network, failing = Network(), [True, True]

    def answer(key, inside=lambda: None):
        def compute():
            if failing and failing.pop():
                inside()
                raise Exhausted
            return network(torch.ones(2, 4))

        return call(session, key, network, compute)

    session.begin_evaluation(8.0)
    assert torch.equal(answer("cond", lambda: answer("uncond")), network(torch.ones(2, 4)))
    failing.append(True)
    with pytest.raises(Exhausted):
        answer("cond")


def test_what_is_computed_once_is_forgotten_too_when_memory_runs_out():
    with mock.patch.dict(families.INVARIANTS, {f"{__name__}.Network": ("blocks.0",)}):
        network, failing = Network(), []
        session = start(paper(3), SIGMAS, FAMILIES, is_exhausted=lambda error: isinstance(error, Exhausted))

        def compute():
            if failing and failing.pop():
                raise Exhausted
            with torch.no_grad():
                return network(torch.ones(2, 4))

        for sigma, computed in ((8.0, 1), (6.0, 1), (4.0, 2), (3.0, 2)):
            failing[:] = [sigma == 4.0]
            session.begin_evaluation(sigma)
            call(session, "cond", network, compute)
            assert network.blocks[0].computed == computed
    assert "Memory ran out" in session.close().text()
