"""The engine on a plain torch module, with no host."""

import pytest
import torch
from driver import call, start

from frdiff.blocks.families import Family
from frdiff.planning.paper import PaperSchedule
from frdiff.planning.plan import Plan, StepKind, StepPlan
from frdiff.planning.presets import for_speedup
from frdiff.planning.schedule import Schedule
from frdiff.store import Store

pytestmark = pytest.mark.quick


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.computed = 0

    def forward(self, x, t):
        self.computed += 1
        return x + torch.sin(x * t)


class InPlaceBlock(Block):
    def forward(self, x, t):
        self.computed += 1
        x += torch.sin(x * t)
        return x


class Network(torch.nn.Module):
    def __init__(self, block):
        super().__init__()
        self.blocks = torch.nn.ModuleList([block() for _ in range(3)])

    def forward(self, x, t):
        h = x * 1.0
        for block in self.blocks:
            h = block(h, t)
            h *= 1.01
        return h


class Watching(Schedule):
    """Every step full, with all stages remembered."""

    def plan(self, run):
        return Plan((StepPlan(StepKind.FULL, keeps_stages=True),) * run.length)


FAMILIES = {
    f"{__name__}.Block": Family(((0, "x"),)),
    f"{__name__}.InPlaceBlock": Family(((0, "x"),), mutates=True),
}
SIGMAS = [8.0, 6.0, 4.0, 3.0, 2.0, 1.0, 0.0]


def run(network, schedule, sigmas=SIGMAS, visited=None, keys=("cond",)):
    session = start(schedule, sigmas, FAMILIES)
    outputs = []
    for sigma in visited or sigmas[:-1]:
        session.begin_evaluation(sigma)
        for number, key in enumerate(keys):
            x = torch.linspace(-1, 1, 5) + sigma / 10 + number
            outputs.append(call(session, key, network, lambda x=x, sigma=sigma: network(x, sigma)))
    return outputs, session.close()


@pytest.mark.parametrize("block", [Block, InPlaceBlock])
def test_all_full_is_bit_identical(block):
    network = Network(block)
    plain, _ = run(network, Schedule("plain"))
    remembering, report = run(network, Watching("remembering"))
    assert report.bytes_kept > 5 * 4 * len(network.blocks)
    assert all(torch.equal(a, b) for a, b in zip(plain, remembering, strict=True))


@pytest.mark.parametrize("block", [Block, InPlaceBlock])
def test_partial_steps_add_remembered_residuals_to_fresh_input(block):
    network = Network(block)
    outputs, report = run(network, PaperSchedule("", mixing=False), sigmas=SIGMAS[:3])
    assert report.counts == {"full": 1, "partial": 1, "skip": 0}
    assert [b.computed for b in network.blocks] == [1, 1, 1]
    h, fresh = torch.linspace(-1, 1, 5) + 0.8, torch.linspace(-1, 1, 5) + 0.6
    for _ in range(3):
        residual = torch.sin(h * 8.0)
        h, fresh = (h + residual) * 1.01, (fresh + residual) * 1.01
    assert torch.allclose(outputs[1], fresh, atol=1e-6)


def test_streams_are_never_mixed():
    network = Network(Block)
    both, _ = run(network, PaperSchedule("", interval=3, mixing=False), keys=("cond", "uncond"))
    alone, _ = run(network, PaperSchedule("", interval=3, mixing=False), keys=("cond",))
    assert all(torch.equal(a, b) for a, b in zip(both[::2], alone, strict=True))


def test_going_back_up_in_sigma_computes():
    network = Network(Block)
    _, report = run(network, PaperSchedule("", mixing=False), visited=[3.0, 4.0, 6.0])
    assert report.records[-1].kind == "full" and report.reasons


def test_a_stale_memory_is_not_used():
    _, report = run(Network(Block), PaperSchedule("", mixing=False), visited=[8.0] + [5.9] * 20)
    assert [r.kind for r in report.records].count("full") > 1 and report.reasons


def test_conditions_that_come_and_go_leave_nothing():
    """Moving windows make a new stream at each step, and the dial has no partial steps to remember stages for."""
    network, sigmas = Network(Block), [20.0 * 0.9**step for step in range(60)]
    session = start(for_speedup(2.0), [*sigmas, 0.0], FAMILIES)
    for step, sigma in enumerate(sigmas):
        session.begin_evaluation(sigma)
        call(session, step, network, lambda sigma=sigma: network(torch.ones(5), sigma))
    report = session.close()
    assert report.counts["full"] == 60 and 0 < report.bytes_kept < 40 * 5 * 4


def test_modules_are_left_as_they_were_after_an_error():
    network = Network(Block)
    before = [dict(module.__dict__) for module in network.modules()]
    session = start(PaperSchedule(""), SIGMAS, FAMILIES)
    session.begin_evaluation(8.0)
    with pytest.raises(TypeError):
        call(session, "cond", network, lambda: network(torch.ones(2), None))
    assert [set(m.__dict__) for m in network.modules()] == [set(b) for b in before]


def test_a_sampler_with_noise_levels_of_its_own_is_computed_in_full():
    _, report = run(Network(Block), PaperSchedule("", mixing=False), visited=[8.0, 7.0, 5.5, 4.5, 2.5, 0.5])
    assert report.counts["full"] == 6 and "noise levels of its own" in report.line()


def test_noise_levels_that_go_up_are_computed_in_full():
    for sigmas in (SIGMAS[::-1], [8.0, 4.0, 6.0, 2.0, 0.0]):
        _, report = run(Network(Block), for_speedup(2.0), sigmas=sigmas)
        assert report.counts["full"] == len(sigmas) - 1 and "do not go down" in report.line()


def test_the_second_stage_of_a_step_follows_the_steps_own_plan():
    # Heun's: each step ends with an evaluation at the next step's noise level.
    visited = [8.0, 6.0, 6.0, 4.0, 4.0, 3.0, 3.0, 2.0]
    _, report = run(Network(Block), PaperSchedule("", interval=2, mixing=False), visited=visited)
    kinds = [record.kind for record in report.records]
    assert kinds == ["full", "partial", "partial", "partial", "full", "full", "partial", "partial"]


def test_outputs_of_lower_noise_are_forgotten_where_sigma_rises():
    """Two passes in one run: a forecast of the second is not made from the end of the first."""
    store = Store(0, 4)
    stream = store.start("cond")
    for number, time in enumerate((0.6, 0.4, 0.2, 0.7, 0.7, 0.5, 0.3, 0.4)):
        store.keep_output(stream, time, number, torch.full((2,), time + number))
    assert list(stream.times) == [0.7, 0.5, 0.3, 0.4]
    assert [float(output[0]) for output in stream.outputs] == pytest.approx([4.7, 5.5, 6.3, 7.4])
