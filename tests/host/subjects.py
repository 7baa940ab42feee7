"""Models with conditions and a latent, and what a user does with them."""

import importlib
import math
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

NEWER_NODES = {"DualModelGuider", "LTXVDualCFGGuider", "NAGuidance"}
# The last layer of each network here: it is entered exactly when the network really computes.
LAST_LAYERS = ("out.2", "final_layer.linear", "head.head")


@dataclass(frozen=True)
class Settings:
    """The widgets of a sampler node."""

    steps: int = 20
    cfg: float = 3.0
    sampler: str = "euler"
    scheduler: str = "normal"
    seed: int = 1
    denoise: float = 1.0


@dataclass(frozen=True)
class Subject:
    """A model, its conditions and its latent, in the host whose `nodes` module is `host`."""

    host: Any
    model: Any
    positive: Any
    negative: Any
    latent: Any

    @property
    def network(self):
        return self.model.model.diffusion_model

    def sample(self, **settings):
        """What the host's own sampler node makes."""
        s = Settings(**settings)
        with torch.inference_mode():
            return self.host.common_ksampler(
                self.model, s.seed, s.steps, s.cfg, s.sampler, s.scheduler, self.positive, self.negative,
                self.latent, s.denoise,
            )[0]["samples"]  # fmt: skip

    def frdiff(self, speedup=2.0, schedule=None, **settings):
        """The latent and the report of FRDiff KSampler."""
        s = Settings(**settings)
        with torch.inference_mode():
            latent, report = self.host.NODE_CLASS_MAPPINGS["FRDiffKSampler"].execute(
                self.model, s.seed, s.steps, s.cfg, s.sampler, s.scheduler, self.positive, self.negative,
                self.latent, s.denoise, speedup, schedule,
            ).result  # fmt: skip
        return latent["samples"], report

    def patched(self, speedup=2.0, schedule=None):
        """The same with FRDiff Model Patcher behind the model."""
        return self.having(model=node(self.host, "FRDiffModelPatcher", self.model, speedup, schedule))

    def having(self, **changes):
        """The same with something changed."""
        return replace(self, **changes)

    @contextmanager
    def counting(self):
        """Yields a list that gets one entry each time the network computes."""
        names = {name for name, _ in self.network.named_modules()}
        layer = self.network.get_submodule(next(name for name in LAST_LAYERS if name in names))
        calls = []
        handle = layer.register_forward_pre_hook(lambda *_: calls.append(1))
        try:
            yield calls
        finally:
            handle.remove()


def node(host, name, *inputs, **named):
    """The first output of a node of the host or of the pack."""
    return _executed(host.NODE_CLASS_MAPPINGS[name], inputs, named)


def extra_node(module, name, *inputs, **named):
    """The first output of a node that comes with the host in a file of its own."""
    return _executed(node_class(module, name), inputs, named)


def node_class(module, name):
    """A node class of the host's that is in a file of its own; an older host skips the test by name."""
    try:
        return getattr(importlib.import_module(f"comfy_extras.nodes_{module}"), name)
    except (ImportError, AttributeError):
        if name in NEWER_NODES:
            pytest.skip(f"This ComfyUI has no {name}.")
        raise


def _executed(cls, inputs, named):
    if hasattr(cls, "define_schema"):
        outputs = cls.execute(*inputs, **named)
    else:
        outputs = getattr(cls(), cls.FUNCTION)(*inputs, **named)
    return getattr(outputs, "result", outputs)[0]


def euler_resizing(cut_at):
    """Euler's method on a latent that is cut to half its width before the step `cut_at`, or never with None."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for i in range(len(sigmas) - 1):
            if i == cut_at:
                x = x[..., : x.shape[-1] // 2].contiguous()
            denoised = model(x, sigmas[i] * x.new_ones([len(x)]), **extra_args)
            x = denoised + (x - denoised) * sigmas[i + 1] / sigmas[i]
        return x

    return sample


def custom_schedule(host, preset="custom", interval=1, mixing=False, budget=4096.0):
    """A schedule from the node; as it stands every step is full."""
    return node(host, "FRDiffSchedule", preset, interval, mixing, 1, 0, budget)


def watching(host, branches=False):
    """A schedule with every step full, all stages remembered at each of them and none reused."""
    paper = type(custom_schedule(host))
    plans = sys.modules[paper.__module__.replace(".paper", ".plan")]

    class Watching(paper):
        def plan(self, run):
            return plans.Plan((plans.StepPlan(plans.StepKind.FULL, keeps_stages=True),) * run.length)

    return Watching("watching", replace(paper("").options, branches=branches))


def demo_subject(host, name, width=16, batch=1):
    """A trained demo model, "unet" or "dit", with two prompts."""
    model, clip, _ = host.NODE_CLASS_MAPPINGS["FRDiffDemoModelLoader"].execute(name).result
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(t)) for t in ("grinning face, 3d", ""))
    return Subject(host, model, positive, negative, {"samples": torch.zeros(batch, 4, 16, width)})


WAN = {
    "image_model": "wan2.1", "model_type": "t2v", "patch_size": (1, 2, 2), "in_dim": 16, "dim": 48, "ffn_dim": 96,
    "freq_dim": 32, "text_dim": 40, "text_len": 16, "out_dim": 16, "num_heads": 4, "num_layers": 4,
    "qk_norm": True, "cross_attn_norm": True, "eps": 1e-6,
}  # fmt: skip


def video_subject(host, frames=3):
    """A tiny video model with random weights."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    class Config(comfy.supported_models.WAN21_T2V):
        unet_config = {}

    config = Config(dict(WAN, dtype=torch.float32))
    config.latent_format = comfy.latent_formats.Wan21()
    model = comfy.model_base.WAN21(config)
    fill(model)
    device = comfy.model_management.get_torch_device()
    generator = torch.Generator().manual_seed(5)
    positive, negative = ([[torch.randn(1, 9, 40, generator=generator), {}]] for _ in range(2))
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))
    return Subject(host, patcher, positive, negative, {"samples": torch.zeros(1, 16, frames, 8, 8)})


def fill(module, seed=0, scale=1.0):
    """Random weights that keep the size of what passes through."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                weight.copy_(noise * scale / math.sqrt(weight[0].numel()))
            else:
                weight.copy_(0.02 * noise + float("norm" in name and name.endswith("weight")))


def relative(result, truth):
    """The size of the difference, relative to the truth."""
    return float((result - truth).norm() / truth.norm())
