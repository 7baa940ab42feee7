"""The newest core fetches a block's weights before it calls the block: not those of blocks that are left out."""

import pytest
import torch
from tiny_host import flat, load, schedule

STEPS = 4


class Dynamic:
    """A patcher that says that its weights come when they are needed."""

    def __init__(self, patcher):
        self.patcher = patcher

    def __getattr__(self, name):
        return getattr(self.patcher, name)

    def is_dynamic(self):
        return True


@pytest.fixture
def fetched(host, monkeypatch):
    """The blocks whose weights the host's own queue fetches, in order; what it needs a GPU for does nothing."""
    prefetch = pytest.importorskip("comfy.model_prefetch", reason="This ComfyUI fetches no weights ahead.")
    import comfy.model_management
    import comfy.model_patcher
    import comfy.ops

    seen, pre_run = [], comfy.model_patcher.ModelPatcher.pre_run

    def begun(patcher):
        pre_run(patcher)
        patcher.model.current_patcher = Dynamic(patcher)

    def cast(modules, *_, **__):
        seen.extend(module._v for module in modules)
        for module in modules:
            module._prefetch = {"signature": None}
        return None, True

    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "pre_run", begun)
    monkeypatch.setattr(comfy.model_management, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(comfy.model_management, "device_supports_non_blocking", lambda device: True)
    monkeypatch.setattr(comfy.model_management, "NUM_STREAMS", 1)
    monkeypatch.setattr(comfy.model_management, "ensure_pin_registerable", lambda size: None)
    monkeypatch.setattr(comfy.model_management, "sync_stream", lambda device, stream: None)
    monkeypatch.setattr(comfy.ops, "cast_modules_with_vbar", cast)
    yield seen
    prefetch.cleanup_prefetch_queues()


@pytest.mark.parametrize("name", ["ltxav", "minimax_h3"])
@pytest.mark.parametrize("preset", ["paper M=2", "custom", None])
def test_weights_are_fetched_for_what_computes_alone(host, fetched, name, preset):
    import comfy.model_prefetch

    tiny = load(host, name)
    markers = mark(tiny.network)
    plain = flat(tiny.sample(steps=1))
    of_a_step = list(fetched)
    assert sorted(set(of_a_step)) == list(range(len(markers))) and torch.isfinite(plain).all()
    fetched.clear()
    _, report = tiny.frdiff(preset and schedule(host, preset), steps=12 if preset is None else STEPS)
    assert report.counts["full"] < len(report.records)
    assert fetched == of_a_step * report.counts["full"]
    # Each queue came to its end.
    assert all(not hasattr(marker, "_prefetch") for marker in markers)
    assert all(queue == [None] for queue in comfy.model_prefetch.PREFETCH_QUEUES)


def mark(network):
    """A module in each block that the host takes for one whose weights lie elsewhere; `_v` is the block's number."""
    blocks = getattr(network, "transformer_blocks", None) or network.blocks
    markers = [torch.nn.Module() for _ in blocks]
    for i, (block, marker) in enumerate(zip(blocks, markers, strict=True)):
        marker._v, marker.weight, marker.bias = i, None, None
        block.marker = marker
    return markers
