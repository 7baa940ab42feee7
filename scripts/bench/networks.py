"""Networks of the sizes that users run, with random weights, and inputs for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from setup import ScriptError


@dataclass(frozen=True)
class Shape:
    """A network of ComfyUI and the input at the size users run.

    `model` is a class of comfy.supported_models and `network` its network's config. `latent` has batch 1,
    `context` is tokens and width of the text encoding, `pooled` the width of the pooled one. A `cfg` of 1 is
    one call per step without a negative prompt. `extras` are further values of a conditioning.
    """

    model: str
    network: Mapping[str, Any]
    latent: tuple[int, ...]
    context: tuple[int, int]
    cfg: float
    scheduler: str
    pooled: int = 0
    extras: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.bfloat16


UNET = {
    "image_size": 32,
    "use_checkpoint": False,
    "legacy": False,
    "use_spatial_transformer": True,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "in_channels": 4,
    "out_channels": 4,
}
SDXL = {
    **UNET,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "use_linear_in_transformer": True,
    "context_dim": 2048,
}
TINY = {
    **SDXL,
    "model_channels": 64,
    "channel_mult": [1, 2],
    "num_res_blocks": [1, 1],
    "transformer_depth": [0, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 1, 1],
    "context_dim": 64,
}
SD15 = {
    **UNET,
    "adm_in_channels": None,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "use_linear_in_transformer": False,
    "context_dim": 768,
}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "hidden_size": 3072,
    "num_heads": 24,
    "mlp_ratio": 4.0,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": True,
    "context_in_dim": 4096,
    "vec_in_dim": 768,
}
# The 1.3 B model.
WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "patch_size": (1, 2, 2),
    "text_len": 512,
    "in_dim": 16,
    "out_dim": 16,
    "dim": 1536,
    "ffn_dim": 8960,
    "freq_dim": 256,
    "text_dim": 4096,
    "num_heads": 12,
    "num_layers": 30,
    "window_size": (-1, -1),
    "qk_norm": True,
    "cross_attn_norm": True,
    "eps": 1e-6,
}
SHAPES = {
    # 1024 x 1024 pictures.
    "sdxl": Shape("SDXL", SDXL, (1, 4, 128, 128), (77, 2048), 7.0, "normal", pooled=1280),
    "flux": Shape("Flux", FLUX, (1, 16, 128, 128), (256, 4096), 1.0, "simple", 768, {"guidance": 3.5}),
    # 512 x 512 pictures.
    "sd15": Shape("SD15", SD15, (1, 4, 64, 64), (77, 768), 7.0, "normal"),
    # 33 frames of 832 x 480.
    "wan": Shape("WAN21_T2V", WAN, (1, 16, 9, 60, 104), (512, 4096), 6.0, "simple"),
    # To try this file on a CPU.
    "tiny": Shape("SDXL", TINY, (1, 4, 16, 16), (77, 64), 7.0, "normal", pooled=1280, dtype=torch.float32),
}


def build(shape: Shape, seed: int = 0) -> Any:
    """A MODEL of this shape on the host's device, with random weights that keep activations finite."""
    import comfy.model_management
    import comfy.model_patcher

    device = comfy.model_management.get_torch_device()
    if device.type == "cpu" and shape.dtype is torch.bfloat16:
        raise ScriptError("Networks of true size need a GPU. Try --shape tiny here.")
    model = empty_model(shape, device)
    fill(model.diffusion_model, torch.Generator(device).manual_seed(seed))
    model.to(device).requires_grad_(False)
    # It is never offloaded: loading is not what is timed.
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)


def empty_model(shape: Shape, device: Any) -> Any:
    """ComfyUI's model of this shape on a device, its weights not yet set."""
    import comfy.supported_models

    classes = {cls.__name__: cls for cls in comfy.supported_models.models}
    config = classes[shape.model]({**shape.network, **_newer_fields(shape.network)})
    config.set_inference_dtype(shape.dtype, None)
    return config.get_model({}, "", device=device)


def _newer_fields(network: Mapping[str, Any]) -> dict[str, Any]:
    """What later versions of ComfyUI want to be told of a FLUX network, and 0.3.75 does not know."""
    from comfy.ldm.flux.model import FluxParams

    wanted = network.get("image_model") == "flux" and "txt_ids_dims" in {each.name for each in fields(FluxParams)}
    return {"txt_ids_dims": []} if wanted else {}


def fill(network: torch.nn.Module, generator: torch.Generator) -> None:
    """Draw every weight: matrices and kernels by their fan-in, norms around one, biases around zero."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, max(1, parameter[0].numel()) ** -0.5, generator=generator)
            else:
                norm = name.endswith(("weight", "scale"))
                parameter.normal_(1.0 if norm else 0.0, 0.02, generator=generator)


def conditioning(shape: Shape, seed: int) -> Any:
    """A CONDITIONING of the shape's text encoder with random values."""
    generator = torch.Generator().manual_seed(seed)
    extras = dict(shape.extras)
    if shape.pooled:
        extras["pooled_output"] = torch.randn(1, shape.pooled, generator=generator)
    return [[torch.randn(1, *shape.context, generator=generator), extras]]
