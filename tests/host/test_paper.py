"""The `paper` schedules against an independent, literal statement of the algorithm (arXiv 2312.03517)."""

from contextlib import contextmanager
from unittest import mock

import pytest
import torch

STEPS = 24


class LiteralFRDiff:
    """FRDiff as the paper words it, for a sampler that calls the network once per step."""

    def __init__(self, interval, mixing, steps):
        self.interval, self.mixing, self.steps = interval, mixing, steps
        self.step, self.saved, self.key_output = -1, {}, None

    def keyframe(self):
        return self.step % self.interval == 0

    def score(self, network, *args, **kwargs):
        self.step += 1
        if self.keyframe():
            self.key_output = network(*args, **kwargs)
            return self.key_output
        if not self.mixing:
            return network(*args, **kwargs)
        tau = self.step / self.steps
        lam = max(0.0, min(1.0, (30 * (tau - 0.5) + 2) / 4))
        if lam == 0:
            return self.key_output
        return lam * network(*args, **kwargs) + (1 - lam) * self.key_output

    def res_block(self, block, x, emb):
        if self.keyframe():
            self.saved[block] = block.in_layers(x)
        h = self.saved[block] + block.emb_layers(emb)[:, :, None, None]
        return block.skip_connection(x) + block.out_layers(h)

    def residual(self, block, original, inputs, *args, **kwargs):
        if self.keyframe():
            before = [value.clone() for value in inputs]
            outputs = original(block, *args, **kwargs)
            after = outputs if isinstance(outputs, tuple) else (outputs,)
            self.saved[block] = [a - b for a, b in zip(after, before, strict=True)]
            return outputs
        outputs = tuple(x + r for x, r in zip(inputs, self.saved[block], strict=True))
        return outputs if len(outputs) > 1 else outputs[0]


@contextmanager
def literal(network, algorithm):
    """Put the literal algorithm into the host's block classes."""
    from comfy.ldm.flux.layers import DoubleStreamBlock, SingleStreamBlock
    from comfy.ldm.modules.attention import SpatialTransformer
    from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock

    transformer, double, single = SpatialTransformer.forward, DoubleStreamBlock.forward, SingleStreamBlock.forward
    plain = network.forward
    replaced = [
        mock.patch.object(ResBlock, "_forward", lambda b, x, emb: algorithm.res_block(b, x, emb)),
        mock.patch.object(
            SpatialTransformer, "forward", lambda b, x, *a, **k: algorithm.residual(b, transformer, [x], x, *a, **k)
        ),
        mock.patch.object(
            DoubleStreamBlock,
            "forward",
            lambda b, img, txt, **k: algorithm.residual(b, double, [img, txt], img, txt, **k),
        ),
        mock.patch.object(
            SingleStreamBlock, "forward", lambda b, x, *a, **k: algorithm.residual(b, single, [x], x, *a, **k)
        ),
        mock.patch.object(network, "forward", lambda *a, **k: algorithm.score(plain, *a, **k)),
    ]
    for patch in replaced:
        patch.start()
    try:
        yield
    finally:
        for patch in reversed(replaced):
            patch.stop()


@pytest.mark.parametrize("mixing", [True, False], ids=["mixing", "reuse only"])
@pytest.mark.parametrize("interval", [2, 3])
def test_paper_is_the_literal_algorithm(demo, host, interval, mixing):
    name = f"paper M={interval}" if mixing else f"reuse only M={interval}"
    schedule = host.NODE_CLASS_MAPPINGS["FRDiffSchedule"].execute(name, 2, True, 1, 0, 4096.0).result[0]
    latent, report = demo.frdiff(steps=STEPS, schedule=schedule)
    with literal(demo.model.model.diffusion_model, LiteralFRDiff(interval, mixing, STEPS)):
        expected = demo.sample(steps=STEPS)
    assert report.counts["full"] == STEPS // interval
    assert report.counts["skip"] > 0 if mixing else report.counts["skip"] == 0
    assert torch.allclose(latent["samples"], expected, rtol=0, atol=1e-5)
    assert not torch.equal(expected, demo.sample(steps=STEPS))
