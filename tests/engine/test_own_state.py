"""A network that changes by being called is computed at every step, one that only remembers is not."""

import pytest
import torch
from driver import lasting, start

from frdiff.engine import NetworkCall
from frdiff.planning.presets import PRESETS, for_speedup

pytestmark = pytest.mark.quick
SIGMAS = [10.0, 8.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.5, 1.0, 0.5, 0.2, 0.1, 0.0]


class Inner(torch.nn.Module):
    """A part of the network that keeps something."""

    def __init__(self):
        super().__init__()
        self.kept, self.entered = {"end": 0}, 0


class Network(torch.nn.Module):
    """Does with its state what `move` does, at each call."""

    def __init__(self, move):
        super().__init__()
        self.move, self.cnt, self.history, self.sizes, self.longest = move, 0, [], {}, 1
        self.inner, self.blocks = Inner(), [{"keys": None, "end": 0}, {"keys": None, "end": 0}]
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("memory", torch.zeros(4, 3))

    def forward(self, x, options):
        # A counter of the test's own, where no watch sees it.
        self.__dict__["_entered"] = self.__dict__.get("_entered", 0) + 1
        self.move(self, x, options)
        return torch.tanh(x)


def cache(self, x, options):
    for each in options["ar_state"]["caches"]:
        each["end"] += len(x)


def counter(self, x, options):
    self.cnt += 1


def listed(self, x, options):
    self.history.append(x)


def inner_cache(self, x, options):
    self.inner.kept["end"] += len(x)


def statistic(self, x, options):
    self.inner.entered += 1


def shared_list(self, x, options):
    options["kept"]["history"].append(x)


def buffer(self, x, options):
    self.step += 1


def memory(self, x, options):
    self.memory[:2] = x


def new_memory(self, x, options):
    self.memory = torch.cat([self.memory, x])


def caches_of_blocks(self, x, options):
    for each in self.blocks:
        each["end"] += len(x)


def nothing(self, x, options):
    options["block_index"] = options.get("block_index", 0) + 1
    options["shape"] = [len(x)]


def table(self, x, options):
    self.sizes[len(x)] = 1
    self.longest = max(self.longest, 7)
    options["kept"]["table"] = 7
    options["kept"]["is_made"] = True


def run(move, schedule):
    with torch.inference_mode():
        return run_in(move, schedule)


def run_in(move, schedule):
    network, session = Network(move), start(schedule, SIGMAS)
    shared = {"ar_state": {"caches": [{"end": 0}, {"end": 0}]}, "kept": {"history": [], "is_made": False}}
    for sigma in SIGMAS[:-1]:
        session.begin_evaluation(sigma)
        # The host makes the outermost options anew for each call.
        options, x = dict(shared), torch.linspace(-1, 1, 6).reshape(2, 3) * sigma
        call = NetworkCall("key", network, lambda x=x, options=options: network(x, options), x, None, options)
        assert torch.equal(session.call(call), torch.tanh(x)) or session.report.records[-1].kind != "full"
    return network, session.close()


@pytest.mark.parametrize("schedule", [for_speedup(2.0), PRESETS["paper M=2"]], ids=["dial", "paper"])
@pytest.mark.parametrize("move", [cache, shared_list])
def test_state_in_the_options_is_found_in_the_first_call(move, schedule):
    network, report = run(move, schedule)
    assert [reason.code for reason in lasting(report)] == ["own-state"]
    assert report.counts["full"] == len(report.records) == network.__dict__["_entered"] == len(SIGMAS) - 1


@pytest.mark.parametrize("move", [counter, buffer, inner_cache, memory, new_memory, caches_of_blocks])
def test_state_of_the_network_is_found_in_two_calls(move):
    _, report = run(move, for_speedup(2.0))
    kinds = [record.kind for record in report.records]
    assert [reason.code for reason in lasting(report)] == ["own-state"]
    second = [number for number, kind in enumerate(kinds) if kind == "full"][1]
    assert "skip" not in kinds[second:]


@pytest.mark.parametrize("move", [nothing, table, statistic, listed])
def test_what_is_only_remembered_is_no_state(move):
    _, report = run(move, for_speedup(2.0))
    assert not lasting(report) and report.counts["skip"] == 6
