"""Stages on plain torch modules: what is kept of a block, what stays fresh, and what cannot be corrupted."""

import pytest
import torch

from frdiff.blocks.families import Family
from frdiff.blocks.stages import StageCall, find_stages
from frdiff.forward_patch import swapped
from frdiff.store import Store

pytestmark = pytest.mark.quick
X = ((0, "x"),)


class Scale(torch.nn.Module):
    """Multiplies, and counts how often."""

    def __init__(self, factor=2.0):
        super().__init__()
        self.factor, self.computed = factor, 0

    def forward(self, x):
        self.computed += 1
        return x * self.factor


class Block(torch.nn.Module):
    """Has one child `f`; subclasses are the kinds of block."""

    def __init__(self):
        super().__init__()
        self.f = Scale()


class OneTuple(Block):
    def forward(self, x):
        return (x + self.f(x),)


class TextFirst(Block):
    def forward(self, image, text, last=False):
        return (None if last else text + self.f(image.sum())), image + self.f(text.sum())


class Projected(Block):
    """Adds to a projection of its input and a skip connection."""

    def __init__(self):
        super().__init__()
        self.project, self.norm = Scale(3.0), Scale(1.0)

    def forward(self, x, skip):
        x = self.project(x + skip)
        return x + self.f(self.norm(x))


class Hinting(Projected):
    """Returns a projection of its result first."""

    def __init__(self):
        super().__init__()
        self.hint = Scale(10.0)

    def forward(self, x, skip):
        x = super().forward(x, skip)
        return self.hint(x), x


class Sampling(Block):
    """Keeps what `f` returns; `before` works for `f` alone."""

    def __init__(self):
        super().__init__()
        self.before = Scale(5.0)

    def forward(self, x, time):
        h = self.f(self.before(x)[:2])
        h += time
        return x[:2] + h


class Branched(Block):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([Scale(), Scale(3.0)])

    def forward(self, x, gate):
        for layer in self.layers:
            branch = layer(x)
            branch *= gate
            x = x + branch
        return x


class Parts(Branched):
    """What it works out beside its branches is needed elsewhere."""


class ByMethod(Block):
    """Has two ways through it, and neither is `forward`."""

    def generate(self, x):
        return x + self.f(x)


class Calling(torch.nn.Module):
    """Calls its block by that method."""

    def __init__(self):
        super().__init__()
        self.block = ByMethod()

    def forward(self, x):
        return self.block.generate(x)


class Repeating(torch.nn.Module):
    """Runs its only block several times in a call."""

    def __init__(self):
        super().__init__()
        self.block = OneTuple()

    def forward(self, *xs):
        return [self.block(x)[0] for x in xs]


FAMILIES = {
    f"{__name__}.{name}": family
    for name, family in {
        "OneTuple": Family(X),
        "TextFirst": Family(((1, "text"), (0, "image"))),
        "Projected": Family(X, base="norm"),
        "Hinting": Family(X, base="norm", after="hint"),
        "Sampling": Family(X, child="f", idle=("before",)),
        "Branched": Family(X, branches=("layers.*",)),
        "Parts": Family((), branches=("layers.*",)),
        "ByMethod": Family(X, method="generate"),
    }.items()
}


class Memory:
    """Remembers a call of a module, and reuses it in others."""

    def __init__(self, module, branches=False):
        self.module = module
        self.stages = find_stages(module, FAMILIES, branches)
        self.features = Store(1e9, 1)
        self.stream = self.features.start("key")

    def remember(self, *args, **kwargs):
        with swapped(StageCall(self.stages, self.stream, self.features).remembering()):
            return self.module(*args, **kwargs)

    def reuse(self, *args, **kwargs):
        call = StageCall(self.stages, self.stream, self.features)
        with swapped(call.reusing()):
            result = self.module(*args, **kwargs)
        self.reused = call.reused
        return result


def ones(*shape):
    return torch.ones(*shape)


def test_what_the_network_calls_is_replaced_by_its_name():
    memory = Memory(Calling())
    before = list(memory.module.block.__dict__)
    assert memory.remember(ones(3)).tolist() == [3] * 3 and memory.reuse(10 * ones(3)).tolist() == [12] * 3
    assert memory.module.block.f.computed == 1 and list(memory.module.block.__dict__) == before


@pytest.mark.parametrize("branches", [False, True])
def test_a_row_without_inputs_is_left_out_by_its_branches(branches):
    assert [stage.path for stage in Memory(Parts(), branches).stages] == [".layers.0", ".layers.1"]


def test_a_result_keeps_its_structure():
    memory = Memory(OneTuple())
    (full,) = memory.remember(ones(3))
    (part,) = memory.reuse(10 * ones(3))
    assert full.tolist() == [3] * 3 and part.tolist() == [12] * 3
    assert memory.module.f.computed == 1


def test_outputs_are_paired_with_the_inputs_that_the_table_names():
    memory = Memory(TextFirst())
    memory.remember(ones(2), text=ones(3))
    text, image = memory.reuse(10 * ones(2), text=20 * ones(3))
    assert text.tolist() == [24] * 3 and image.tolist() == [16] * 2


def test_an_output_that_a_block_does_not_have_stays_none():
    memory = Memory(TextFirst())
    memory.remember(ones(2), ones(3), last=True)
    text, image = memory.reuse(10 * ones(2), ones(3), last=True)
    assert text is None and image.tolist() == [16] * 2


def test_a_projection_of_the_input_stays_fresh():
    memory = Memory(Projected())
    memory.remember(ones(2), ones(2))
    assert memory.reuse(2 * ones(2), 3 * ones(2)).tolist() == [15 + 12] * 2
    assert memory.module.f.computed == 1 and memory.module.project.computed == 2


def test_what_comes_after_the_result_is_made_from_it():
    memory = Memory(Hinting())
    memory.remember(ones(2), ones(2))
    hint, x = memory.reuse(2 * ones(2), 3 * ones(2))
    assert x.tolist() == [27] * 2 and hint.tolist() == [270] * 2


def test_a_block_that_leaves_its_path_is_an_error_not_a_guess():
    memory = Memory(Projected())
    memory.remember(ones(2), ones(2))
    memory.module.norm = torch.nn.Identity()
    with pytest.raises(RuntimeError, match="Scale was called"):
        memory.reuse(ones(2), ones(2))


def test_a_childs_value_is_kept_and_what_works_for_it_is_idle():
    memory = Memory(Sampling())
    full = memory.remember(ones(4), 1.0)
    for _ in range(2):
        # The block writes into what it gets, and the memory stays as it was.
        assert memory.reuse(2 * ones(4), 7.0).tolist() == [2 + 10 + 7] * 2
    assert full.tolist() == [1 + 10 + 1] * 2
    assert memory.module.f.computed == memory.module.before.computed == 1


def test_branches_are_kept_before_their_gates():
    blocks, branches = Memory(Branched()), Memory(Branched(), branches=True)
    assert [stage.path for stage in blocks.stages] == [""] and len(branches.stages) == 2
    branches.remember(ones(1), 1.0)
    for _ in range(2):
        assert branches.reuse(ones(1), 10.0).tolist() == [1 + 2 * 10 + 3 * 3 * 10]
    assert [layer.computed for layer in branches.module.layers] == [1, 1]


def test_a_block_without_branches_stays_whole():
    block = OneTuple()
    assert find_stages(block, FAMILIES, branches=True) == find_stages(block, FAMILIES) != ()


def test_every_run_of_a_block_in_a_call_has_its_own_memory():
    memory = Memory(Repeating())
    memory.remember(ones(1), 5 * ones(1))
    assert [value.item() for value in memory.reuse(ones(1), ones(1))] == [3, 11]
    assert memory.reused == 2
    # A third run was never remembered.
    assert [value.item() for value in memory.reuse(ones(1), ones(1), ones(1))] == [3, 11, 3]


@pytest.mark.parametrize("other", [torch.ones(4), torch.ones(1, 3), torch.ones(3, dtype=torch.float64)])
def test_another_shape_or_type_computes(other):
    memory = Memory(OneTuple())
    memory.remember(ones(3))
    assert memory.reuse(other)[0].tolist() == (3 * other).tolist()
    assert memory.reused == 0


def test_a_caller_may_write_into_what_it_gets():
    memory = Memory(OneTuple())
    memory.remember(ones(3))[0].zero_()
    memory.reuse(ones(3))[0].zero_()
    assert memory.reuse(ones(3))[0].tolist() == [3] * 3


class Compiled(torch.nn.Module):
    """As torch.compile wraps a module."""

    def __init__(self, module):
        super().__init__()
        self._orig_mod = module

    def forward(self, *args, **kwargs):
        return self._orig_mod(*args, **kwargs)


@pytest.mark.parametrize("finer", [False, True])
def test_a_compiled_block_is_one_stage_from_outside(finer):
    network = torch.nn.ModuleDict({"block": Compiled(Branched())})
    stages = find_stages(network, FAMILIES, finer)
    assert [type(stage.module) for stage in stages] == ([Scale, Scale] if finer else [Compiled])


def test_modules_are_as_before_also_after_an_error():
    memory = Memory(Projected())
    memory.remember(ones(2), ones(2))
    before = [list(module.__dict__) for module in memory.module.modules()]
    with pytest.raises(TypeError):
        memory.reuse(ones(2), "no tensor")
    memory.reuse(ones(2), ones(2))
    assert [list(module.__dict__) for module in memory.module.modules()] == before
