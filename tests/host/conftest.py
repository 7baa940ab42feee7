"""A real ComfyUI in this process, the pack, and the demo models."""

import asyncio
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent.parent


def _start_comfyui():
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    import nodes

    return nodes


@pytest.fixture(scope="session")
def host():
    """ComfyUI's `nodes` module with the pack and the companion pack loaded as ComfyUI loads them."""
    host_nodes = _start_comfyui()
    for name, folder in (("frdiff", ROOT), ("frdiff_demo", ROOT / "scripts" / "demo_pack")):
        assert asyncio.run(host_nodes.load_custom_node(str(folder), module_parent=name)), f"{folder} did not load"
    return host_nodes


@pytest.fixture(scope="session")
def pack(host):
    """The pack's package, to reach its modules by name."""
    cls = host.NODE_CLASS_MAPPINGS["FRDiffKSampler"]
    return sys.modules[cls.__module__.rsplit(".nodes.", 1)[0]]


@pytest.fixture(scope="session")
def engine(pack):
    """The engine's modules by name, as the pack loaded them."""
    return lambda name: sys.modules[f"{pack.__name__}.frdiff.{name}"]


class Demo:
    """A demo model with two encoded prompts."""

    def __init__(self, host, name):
        self.host = host
        self.model, self.clip, self.vae = host.NODE_CLASS_MAPPINGS["FRDiffDemoModelLoader"].execute(name).result
        self.positive = self.encode("grinning face, 3d")
        self.negative = self.encode("")

    def encode(self, text):
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def sample(self, model=None, steps=6, cfg=3.0, sampler="euler", scheduler="normal", batch=1, seed=1, denoise=1.0):
        latent = {"samples": torch.zeros(batch, 4, 16, 16)}
        with torch.inference_mode():
            return self.host.common_ksampler(
                model or self.model, seed, steps, cfg, sampler, scheduler, self.positive, self.negative, latent, denoise
            )[0]["samples"]

    def frdiff(self, steps=6, cfg=3.0, sampler="euler", scheduler="normal", seed=1, speedup=2.0, schedule=None):
        latent = {"samples": torch.zeros(1, 4, 16, 16)}
        with torch.inference_mode():
            return self.host.NODE_CLASS_MAPPINGS["FRDiffKSampler"].execute(
                self.model, seed, steps, cfg, sampler, scheduler, self.positive, self.negative, latent, 1.0,
                speedup, schedule,
            ).result


@pytest.fixture(scope="session", params=["unet", "dit"])
def demo(host, request):
    """Each of the two demo models."""
    return Demo(host, request.param)
