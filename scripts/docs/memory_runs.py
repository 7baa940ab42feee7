"""What runs at true sizes remember: real runs of networks that only pass their inputs on, with the host loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import comfy.model_base
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher

STEPS = 20


@dataclass(frozen=True)
class Size:
    """A model at a size that people run: its class in ComfyUI, its latent (1, C, ..., H, W), its guidance."""

    name: str
    what: str
    model: str
    latent: tuple[int, ...]
    cfg: float
    network: Mapping[str, Any]

    @property
    def conditions(self) -> int:
        """How many prompts the network answers at each step: a cfg of 1 needs no negative one."""
        return 1 if self.cfg == 1 else 2


FLUX, WAN = {"image_model": "flux", "in_channels": 16}, {"image_model": "wan2.1", "model_type": "t2v"}
SIZES = (
    Size("SD 1.5", "512 x 512", "SD15", (1, 4, 64, 64), 7.0, {}),
    Size("SDXL", "1024 x 1024", "SDXL", (1, 4, 128, 128), 7.0, {}),
    Size("SDXL", "four of 1024 x 1024", "SDXL", (4, 4, 128, 128), 7.0, {}),
    Size("FLUX.1 dev", "1024 x 1024", "Flux", (1, 16, 128, 128), 1.0, FLUX),
    Size("Wan 2.1, 2.2", "33 frames of 832 x 480", "WAN21_T2V", (1, 16, 9, 60, 104), 5.0, WAN),
    Size("Wan 2.1, 2.2", "81 frames of 832 x 480", "WAN21_T2V", (1, 16, 21, 60, 104), 5.0, WAN),
    Size("Wan 2.1, 2.2", "81 frames of 1280 x 720", "WAN21_T2V", (1, 16, 21, 90, 160), 5.0, WAN),
)


class PassesOn(torch.nn.Module):
    """Stands in for a network: its output has the input's shape and type."""

    def __init__(self, device: Any = None, operations: Any = None, **_: Any) -> None:
        super().__init__()
        self.dtype = torch.bfloat16

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """The input again."""
        return x * 1.0


def counted(host: Any, size: Size, sampler: str) -> int:
    """Bytes that a run at this size kept at most, as its report says."""
    positive, negative = ([[torch.zeros(1, 8, 8), {}]] for _ in range(2))
    latent = {"samples": torch.zeros(size.latent)}
    node = host.NODE_CLASS_MAPPINGS["FRDiffKSampler"]
    settings = (1, STEPS, size.cfg, sampler, "normal", positive, negative, latent)
    _, report = node.execute(model_of(size), *settings, speedup=2.0).result
    return report.bytes_kept


def model_of(size: Size) -> Any:
    """A MODEL with the noise levels and the latents of the model, in bfloat16."""
    classes = {cls.__name__: cls for cls in comfy.supported_models.models}
    config = classes[size.model](dict(size.network))
    config.set_inference_dtype(torch.bfloat16, None)
    types, cpu = comfy.model_base.ModelType, torch.device("cpu")
    kind = types.FLOW if size.network else types.EPS
    network: Any = PassesOn
    model = comfy.model_base.BaseModel(config, kind, device="cpu", unet_model=network)
    return ModelPatcher(model, load_device=cpu, offload_device=cpu)
