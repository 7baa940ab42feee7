"""A real ComfyUI in this process, the pack, and the demo models."""

import sys

import pytest
import torch
from audit import AUDIT

from setup.in_process import DemoModel, load_comfyui, pack_module

# The dial skips nothing in runs much shorter than this.
STEPS = 9


@pytest.fixture(scope="session")
def host():
    """ComfyUI's `nodes` module with the pack and the companion pack loaded as ComfyUI loads them."""
    loaded = load_comfyui()
    AUDIT.begin(pack_module(loaded, "").__name__)
    return loaded


@pytest.fixture(autouse=True)
def reports_are_true():
    """Every report that a test makes the engine write is held against the run."""
    AUDIT.faults.clear()
    yield
    assert not AUDIT.faults


@pytest.fixture(scope="session")
def pack(host):
    """The pack's package, to reach its modules by name."""
    return pack_module(host, "")


@pytest.fixture(scope="session")
def engine(pack):
    """The engine's modules by name, as the pack loaded them."""
    return lambda name: sys.modules[f"{pack.__name__}.frdiff.{name}"]


@pytest.fixture(scope="session")
def attaching(pack):
    """The module that attaches the engine to a model."""
    return sys.modules[f"{pack.__name__}.nodes.host.attach"]


class Demo(DemoModel):
    """A demo model with two encoded prompts."""

    def __init__(self, host, name):
        super().__init__(host, name)
        self.positive = self.encode("grinning face, 3d")
        self.negative = self.encode("")

    def sample(
        self, model=None, steps=STEPS, cfg=3.0, sampler="euler", scheduler="normal", batch=1, seed=1, denoise=1.0
    ):
        latent = {"samples": torch.zeros(batch, 4, 16, 16)}
        with torch.inference_mode():
            return self.host.common_ksampler(
                model or self.model, seed, steps, cfg, sampler, scheduler, self.positive, self.negative, latent, denoise
            )[0]["samples"]

    def frdiff(self, steps=STEPS, cfg=3.0, sampler="euler", scheduler="normal", seed=1, speedup=2.0, schedule=None):
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
