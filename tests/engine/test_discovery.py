"""Unknown networks: what is recognised by watching one call, and what is refused with a reason."""

import pytest
import torch
from driver import call, start

from frdiff.blocks.discovery import Probe
from frdiff.blocks.network_stages import NetworkStages
from frdiff.forward_patch import swapped
from frdiff.planning.paper import PaperSchedule

pytestmark = pytest.mark.quick


class Block(torch.nn.Module):
    """A block with a layer of its own; `computed` counts its calls."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Identity()
        self.computed = 0

    def branch(self, x):
        self.computed += 1
        return self.layer(torch.sin(x))


class Residual(Block):
    def forward(self, x, scale):
        return x + scale * self.branch(x)


class InPlace(Block):
    def forward(self, x, scale):
        x += scale * self.branch(x)
        return x


class ByName(Block):
    def forward(self, *, scale, hidden):
        return hidden + scale * self.branch(hidden)


class TwoStreams(Block):
    def forward(self, image, text):
        return text + self.branch(text), image + self.branch(image)


class NoResidual(Block):
    def forward(self, x, scale):
        return self.branch(x) - x


class NewShape(Block):
    def forward(self, x, scale):
        return torch.cat([x, self.branch(x)])


class Returns(Block):
    def forward(self, x, scale):
        return {"x": x + self.branch(x)}


class Appends(Block):
    def forward(self, x, skips):
        skips.append(x)
        return x + self.branch(x)


class Kept:
    """What the blocks of one call share."""

    def __init__(self):
        self.tables = {}


class KeepsAside(Block):
    def forward(self, x, kept):
        kept.tables[id(self)] = x
        return x + self.branch(x)


class WritesAside(Block):
    def forward(self, x, scratch):
        scratch += 1
        return x + self.branch(x)


class Network(torch.nn.Module):
    def __init__(self, block, *rest, members=3, call=None):
        super().__init__()
        self.blocks = torch.nn.ModuleList([block() for _ in range(members)])
        self.rest, self.call = rest, call or (lambda block, x, *rest: block(x, *rest))

    def forward(self, x):
        for block in self.blocks:
            result = self.call(block, x, *self.rest)
            x = result if isinstance(result, torch.Tensor) else x
        return x


def watch(network, *inputs):
    probe = Probe(network)
    with swapped(probe.forwards()):
        network(*inputs)
    families = probe.families()
    return {name.rpartition(".")[2]: family for name, family in families.items()}, list(probe.refusals.values())


@pytest.mark.parametrize("block, mutates", [(Residual, False), (InPlace, True)])
def test_residual_blocks_are_recognised(block, mutates):
    families, refusals = watch(Network(block, 0.5), torch.ones(4))
    assert list(families) == [block.__name__] and not refusals
    assert families[block.__name__].mutates is mutates
    assert families[block.__name__].inputs == ((0, ""),)


def test_arguments_by_name_are_recognised_by_name():
    network = Network(ByName, call=lambda block, x: block(scale=0.5, hidden=x))
    families, _ = watch(network, torch.ones(4))
    assert [name for _, name in families["ByName"].inputs] == ["hidden"]


def test_two_streams_are_paired_by_shape():
    network = Network(TwoStreams, torch.ones(3), call=lambda block, x, text: block(x, text)[1])
    families, _ = watch(network, torch.ones(4))
    assert [position for position, _ in families["TwoStreams"].inputs] == [1, 0]


@pytest.mark.parametrize(
    "block, rest, why",
    [
        (TwoStreams, (torch.ones(4),), "any of 2 inputs"),
        (NoResidual, (0.5,), "not residual"),
        (NewShape, (0.5,), "shape of no input"),
        (Returns, (0.5,), "something else than tensors"),
        (Appends, ([],), "list or dictionary"),
        (KeepsAside, (Kept(),), "list or dictionary"),
        (WritesAside, (torch.ones(3),), "write into an input"),
    ],
)
def test_what_is_not_clear_is_refused_with_a_reason(block, rest, why):
    families, refusals = watch(Network(block, *rest), torch.ones(4))
    assert not families and len(refusals) == 1 and why in refusals[0]


def test_single_blocks_layers_and_mixed_lists_are_not_watched():
    mixed = Network(Residual, 0.5)
    mixed.blocks[1] = InPlace()
    layers = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
    for network in (Network(Residual, members=1), mixed, layers):
        assert not Probe(network).forwards()


def test_watching_changes_nothing():
    plain, watched = Network(Residual, 0.5), Network(Residual, 0.5)
    stages = NetworkStages()
    before = [list(module.__dict__) for module in watched.modules()]
    with stages.watching(watched):
        assert torch.equal(watched(torch.ones(4)), plain(torch.ones(4)))
    assert [list(module.__dict__) for module in watched.modules()] == before
    assert len(stages.of(watched)) == 3 and "watched" in stages.reasons[0].sentence


SIGMAS = [8.0, 6.0, 4.0, 3.0, 2.0, 0.0]


def run(network):
    session = start(PaperSchedule("", mixing=False), SIGMAS)
    for sigma in SIGMAS[:-1]:
        session.begin_evaluation(sigma)
        call(session, "key", network, lambda sigma=sigma: network(torch.ones(4) * sigma))
    return session.close()


def test_a_run_learns_at_its_first_full_step():
    network = Network(Residual, 0.5)
    report = run(network)
    # The second step finds nothing remembered yet; the fourth is partial.
    assert [record.kind for record in report.records] == ["full", "full", "full", "partial", "full"]
    assert network.blocks[0].computed == 4 and report.stages == 3
    assert any("watched" in reason.sentence for reason in report.reasons)


def test_a_run_that_learns_nothing_says_why():
    report = run(Network(NoResidual, 0.5))
    assert report.counts["partial"] == 0
    assert any("not residual" in reason.sentence for reason in report.reasons)
    assert any("Network" in reason.sentence for reason in report.reasons)
