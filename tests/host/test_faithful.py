"""What a reused block returns, against a literal statement of it (arXiv 2312.03517, section 3.1)."""

import pytest
import torch
from tiny_host import calls_of, cloned, load

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture
def reused(engine):
    """What a block returns for its second call when it remembers the first."""
    stages, features = engine("blocks.stages"), engine("store").Store(1e12, 1)

    def reused(block, first, second, branches=False):
        found, stream = stages.find_stages(block, branches=branches), features.start("key")
        with torch.inference_mode():
            with engine("forward_patch").swapped(stages.StageCall(found, stream, features).remembering()):
                run(block, first)
            call = stages.StageCall(found, stream, features)
            with engine("forward_patch").swapped(call.reusing()):
                result = run(block, second)
        assert call.reused == len(found)
        return result

    return reused


def run(block, call):
    args, kwargs = cloned(call)
    return block(*args, **kwargs)


def two_calls(host, name, find):
    """A block of a tiny model and its first call in each of two steps."""
    tiny = load(host, name)
    block = find(tiny.network)
    calls = calls_of(tiny, block, steps=2)
    return block, calls[0], calls[len(calls) // 2]


def first_convolution(block, x):
    h = block.in_layers[1](block.in_layers[0](x))
    return block.in_layers[2](block.h_upd(h) if block.updown else h)


def res_block(block, s, x, emb):
    """A UNet's residual block from the remembered S(x) on."""
    time = block.emb_layers(emb)
    time = time.reshape(*time.shape, *[1] * (s.ndim - time.ndim))
    if block.use_scale_shift_norm:
        scale, shift = time.chunk(2, dim=1)
        h = block.out_layers[0](s) * (1 + scale) + shift
        h = block.out_layers[3](block.out_layers[1](h))
    else:
        h = block.out_layers(s + (time.movedim(1, 2) if block.exchange_temb_dims else time))
    return block.skip_connection(block.x_upd(x) if block.updown else x) + h


def res_blocks(network):
    return [m for m in network.modules() if type(m).__name__ == "ResBlock"]


@torch.inference_mode()
@pytest.mark.parametrize("name", ["unet_sd15", "unet_updown"])
def test_res_blocks_remember_the_first_convolution(host, reused, name):
    blocks = res_blocks(load(host, name).network)
    variants = {(b.updown, b.use_scale_shift_norm, type(b.skip_connection).__name__) for b in blocks}
    assert len(variants) == (3 if name == "unet_updown" else 2)
    for i in range(len(blocks)):
        block, first, second = two_calls(host, name, lambda network, i=i: res_blocks(network)[i])
        (x0, _), (x, emb) = first[0], second[0]
        expected = res_block(block, first_convolution(block, x0), x, emb)
        torch.testing.assert_close(reused(block, first, second), expected, **TOLERANCE)
        # Once more from the same memory, which the first time must not have changed.
        torch.testing.assert_close(reused(block, first, second), expected, **TOLERANCE)


@torch.inference_mode()
def test_video_res_blocks_remember_both_convolutions(host, reused):
    block, first, second = two_calls(
        host, "unet_svd", lambda n: next(m for m in n.modules() if type(m).__name__ == "VideoResBlock")
    )
    (x0, emb0, frames, *_), (x, emb, _, indicator) = first[0], second[0]

    def with_time(value, moved=True):
        value = value.reshape(-1, frames, *value.shape[1:])
        return value.movedim(1, 2) if moved else value

    space0 = with_time(res_block(block, first_convolution(block, x0), x0, emb0))
    space = with_time(res_block(block, first_convolution(block, x0), x, emb))
    time = res_block(block.time_stack, first_convolution(block.time_stack, space0), space, with_time(emb, moved=False))
    mixed = block.time_mixer(x_spatial=space, x_temporal=time, image_only_indicator=indicator)
    expected = mixed.movedim(2, 1).flatten(0, 1)
    torch.testing.assert_close(reused(block, first, second), expected, **TOLERANCE)


def hunyuan_dit_base(block, x, c, text, rotary, skip):
    return x if block.skip_linear is None else block.skip_linear(block.skip_norm(torch.cat([x, skip], dim=-1)))


def hunyuan_3d_base(block, x, t, text, skip_tensor):
    if block.skip_linear is not None:
        x = block.skip_norm(block.skip_linear(torch.cat([skip_tensor, x], dim=-1)))
    return x + block.default_modulation(t).unsqueeze(1) if block.timested_modulate else x


@torch.inference_mode()
@pytest.mark.parametrize("index", [0, -1], ids=["plain", "skip"])
@pytest.mark.parametrize("name, base", [("hunyuan_dit", hunyuan_dit_base), ("hunyuan3d21", hunyuan_3d_base)])
def test_skip_projections_stay_fresh(host, reused, name, base, index):
    block, first, second = two_calls(host, name, lambda network: network.blocks[index])
    assert (block.skip_linear is None) == (index == 0)
    residual = run(block, first) - base(block, *first[0], **first[1])
    expected = base(block, *second[0], **second[1]) + residual
    torch.testing.assert_close(reused(block, first, second), expected, **TOLERANCE)


@torch.inference_mode()
@pytest.mark.parametrize("index", [0, 1])
def test_vace_hints_are_projected_from_fresh_states(host, reused, index):
    block, first, second = two_calls(host, "wan_vace", lambda network: network.vace_blocks[index])

    def base(call):
        (c,), x = call[0], call[1]["x"]
        return block.before_proj(c) + x if block.block_id == 0 else c

    c = base(second) + (run(block, first)[1] - base(first))
    hint, state = reused(block, first, second)
    torch.testing.assert_close(state, c, **TOLERANCE)
    torch.testing.assert_close(hint, block.after_proj(c), **TOLERANCE)


PAIRS = [
    ("flux", "double_blocks", 0, ("img", "txt")),
    ("flux", "single_blocks", 0, (0,)),
    ("sd3", "joint_blocks", 0, (0, 1)),
    ("sd3", "joint_blocks", -1, (None, 1)),
    ("auraflow", "double_layers", 0, (0, 1)),
    ("mochi", "blocks", 0, (0, 2)),
    ("mochi", "blocks", -1, (0, 2)),
    ("hidream", "double_stream_blocks", 0, ("image_tokens", "text_tokens")),
    ("hidream", "single_stream_blocks", 0, ("image_tokens",)),
    ("qwen_image", "transformer_blocks", 0, ("encoder_hidden_states", "hidden_states")),
    ("cosmos1", "blocks.block0", None, (0,)),
    ("ltxv", "transformer_blocks", 0, (0,)),
    ("cascade_c", "up_blocks.1.0", None, (0,)),
]


@torch.inference_mode()
@pytest.mark.parametrize("name, path, index, places", PAIRS, ids=lambda value: str(value))
def test_residuals_add_to_the_inputs_that_they_came_from(host, reused, name, path, index, places):
    def find(network):
        found = network.get_submodule(path)
        return found if index is None else found[index]

    block, first, second = two_calls(host, name, find)

    def inputs(call):
        return [None if p is None else call[1][p] if isinstance(p, str) else call[0][p] for p in places]

    changed = [x is not None and not torch.equal(x, x0) for x0, x in zip(inputs(first), inputs(second), strict=True)]
    assert any(changed)
    outputs = run(block, first)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    result = reused(block, first, second)
    result = result if isinstance(result, tuple) else (result,)
    assert len(result) == len(outputs) == len(places)
    for got, output, x0, x in zip(result, outputs, inputs(first), inputs(second), strict=True):
        if output is None:
            assert got is None
        else:
            torch.testing.assert_close(got, x + (output - x0), **TOLERANCE)


@torch.inference_mode()
def test_branches_stages_keep_the_gates_fresh(host, reused):
    block, first, second = two_calls(host, "wan21", lambda network: network.blocks[0])
    kept, names = [], ("self_attn", "cross_attn", "ffn")
    handles = [getattr(block, name).register_forward_hook(lambda m, a, out: kept.append(out)) for name in names]
    run(block, first)
    for handle in handles:
        handle.remove()
    attention, cross, ffn = kept
    gates = (block.modulation.unsqueeze(0) + second[1]["e"]).unbind(2)
    expected = second[0][0] + attention * gates[2] + cross + ffn * gates[5]
    torch.testing.assert_close(reused(block, first, second, branches=True), expected, rtol=1e-5, atol=1e-6)
