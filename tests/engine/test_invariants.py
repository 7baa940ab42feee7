"""Pieces that do not depend on the timestep: computed once for equal inputs, to the last bit."""

from unittest import mock

import pytest
import torch

from frdiff.blocks import families
from frdiff.blocks.invariants import Invariants
from frdiff.blocks.stages import find_stages
from frdiff.forward_patch import swapped
from frdiff.store import Store
from frdiff.tensors import equal

pytestmark = pytest.mark.quick


class Piece(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.computed = 0

    def forward(self, x, mask=None, transformer_options=None):
        self.computed += 1
        x += 1
        return torch.sin(x), mask


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.pieces = torch.nn.ModuleList([Piece(), Piece()])

    def forward(self, x, **kwargs):
        return [piece(x.clone(), **kwargs)[0] for piece in self.pieces]


@pytest.fixture
def network():
    with mock.patch.dict(families.INVARIANTS, {f"{__name__}.Network": ("pieces.*",)}):
        yield Network()


def caller(network, budget):
    constants = Invariants(Store(budget, 1))

    def call(key, x, **kwargs):
        with swapped(constants.forwards(key, network)):
            return network(x, **kwargs)

    return call


@pytest.fixture
def call(network):
    return caller(network, budget=1e9)


def computed(network):
    return [piece.computed for piece in network.pieces]


def test_equal_inputs_are_computed_once(network, call):
    first = call("cond", torch.ones(3), mask=None, transformer_options={"sigmas": 1})
    second = call("cond", torch.ones(3), mask=None, transformer_options={"sigmas": 2})
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert computed(network) == [1, 1]


@pytest.mark.parametrize(
    "x, more",
    [
        (torch.tensor([1, 1, 1 + 1e-7]), {}),
        (torch.ones(3, dtype=torch.float64), {}),
        (torch.ones(1, 3), {}),
        (torch.ones(3), {"mask": torch.ones(1)}),
        (torch.ones(3), {"transformer_options": {"patches": {"attn1_patch": [print]}}}),
    ],
)
def test_anything_else_is_computed(network, call, x, more):
    call("cond", torch.ones(3))
    call("cond", x, **more)
    assert computed(network) == [2, 2]


def test_streams_have_their_own(network, call):
    call("cond", torch.ones(3))
    call("uncond", torch.zeros(3))
    call("cond", torch.ones(3))
    call("uncond", torch.zeros(3))
    assert computed(network) == [2, 2]


def test_a_caller_may_write_into_what_it_gets(network, call):
    first = call("cond", torch.ones(3))
    expected = [value.clone() for value in first]
    for value in first + call("cond", torch.ones(3)):
        value.zero_()
    assert all(torch.equal(a, b) for a, b in zip(call("cond", torch.ones(3)), expected, strict=True))


@pytest.mark.parametrize("budget, expected", [(0, [3, 3]), (24, [1, 3]), (48, [1, 1])])
def test_what_does_not_fit_the_budget_is_computed(network, budget, expected):
    call = caller(network, budget)
    for _ in range(3):
        call("cond", torch.ones(3))
    assert computed(network) == expected


def test_another_input_takes_the_room_of_the_one_before(network):
    call = caller(network, budget=48)
    for value in (1.0, 2.0, 2.0, 3.0, 3.0):
        call("cond", torch.ones(3) * value)
    assert computed(network) == [3, 3]


def test_constants_are_no_stages_and_subclasses_share_them(network):
    class Special(Network):
        pass

    rows = {f"{__name__}.Piece": families.Family(((0, "x"),))}
    assert set(families.invariants_of(Special())) == {"pieces.0", "pieces.1"}
    assert not find_stages(Special(), rows)
    with mock.patch.dict(families.INVARIANTS, clear=True):
        assert len(find_stages(Special(), rows)) == 2


def test_same_is_strict():
    assert equal((1, [torch.ones(2)], None, {}), (1, [torch.ones(2)], None, {"a": 1}))
    assert not equal(True, 1) and not equal(1.0, 1) and not equal([1], (1,)) and not equal([1], [1, 2])
    assert not equal(torch.tensor(float("nan")), torch.tensor(float("nan")))
    assert not equal(object(), object())
