"""Tiny networks with random weights, one for every diffusion class of the host, in the host's own model classes."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from tiny_newest import NEWEST
from tiny_table import NEWER, PARAMETERS, TINY, Noise, Tiny

MODELS: dict[str, Tiny] = TINY | NEWEST
# Buffers that take the place of trained weights.
TRAINED_BUFFERS = ("pos_embed", "inv_freq", "freqs", "conditioning", "beta")


class Absent(LookupError):
    """The host has no such model class."""


def build(name: str) -> tuple[Any, Any, Any, Any]:
    """A ModelPatcher, an empty latent, and a positive and a negative conditioning; raises Absent."""
    from comfy.model_patcher import ModelPatcher

    tiny = MODELS[name]
    torch.manual_seed(0)
    model = _model(tiny)
    for module in (model.diffusion_model, *(getattr(model, extra) for extra in tiny.embedders)):
        randomise(module)
    model.diffusion_model.eval().requires_grad_(False)
    device = torch.device("cpu")
    patcher = ModelPatcher(model, load_device=device, offload_device=device)
    return patcher, empty_latent(tiny), conditioning(tiny, 1), conditioning(tiny, 2)


def empty_latent(tiny: Tiny) -> Any:
    """Zeros, in two parts where there is sound."""
    from comfy.nested_tensor import NestedTensor

    picture = torch.zeros(tiny.shape)
    return NestedTensor([picture, torch.zeros(tiny.sound)]) if tiny.sound else picture


def conditioning(tiny: Tiny, seed: int) -> list[Any]:
    """A random prompt with what else the model asks for."""
    extra = {key: noise(seed, value) if isinstance(value, Noise) else value for key, value in tiny.extra.items()}
    return [[noise(seed, Noise(1, *tiny.cross)), extra]]


def noise(seed: int, spec: Noise) -> torch.Tensor | list[torch.Tensor]:
    """Gaussian noise, repeated as a list where the model takes one."""
    generator = torch.Generator().manual_seed(seed + spec.seed if spec.varies else spec.seed)
    value = torch.randn(*spec.shape, generator=generator)
    return [value] * spec.copies if spec.copies else value


def randomise(module: torch.nn.Module) -> None:
    """Random weights that keep activations near one; several of the host's layers are allocated uninitialised."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if not weight.is_floating_point():
                continue
            values = torch.randn(weight.shape, generator=generator)
            if weight.ndim >= 2:
                weight.copy_(values / math.sqrt(max(1, weight[0].numel())))
            else:
                weight.copy_(float(_is_norm(name)) + 0.02 * values)
        for name, buffer in module.named_buffers():
            if _is_trained_buffer(name, buffer):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) * 0.02)


def _is_norm(name: str) -> bool:
    return ("norm" in name and name.endswith("weight")) or name.endswith((".0.weight", "scale"))


def _is_trained_buffer(name: str, buffer: torch.Tensor) -> bool:
    if buffer.is_meta or not buffer.is_floating_point() or "rotary_emb." in name:
        return False
    return "pos_embed" in name or name.endswith(TRAINED_BUFFERS[1:])


def _model(tiny: Tiny) -> Any:
    """The host's BaseModel around the network that `tiny.config` describes."""
    import comfy.latent_formats
    import comfy.model_base

    if not hasattr(comfy.model_base, tiny.base) or not hasattr(comfy.latent_formats, tiny.latent):
        raise Absent(f"This ComfyUI has no {tiny.base}.")
    latent = getattr(comfy.latent_formats, tiny.latent)
    if tiny.latent_channels:
        latent = type("TinyLatent", (latent,), {"latent_channels": tiny.latent_channels})
    arguments = dict(tiny.arguments)
    if tiny.base == "StableAudio1":
        arguments.update(_seconds_weights())
    with tiny.smaller():
        model = getattr(comfy.model_base, tiny.base)(_config(tiny, latent), **arguments)
    model.latent_format = latent()
    return model


def _config(tiny: Tiny, latent: type) -> Any:
    import comfy.supported_models
    import comfy.supported_models_base

    base = getattr(comfy.supported_models, tiny.supported, None) or comfy.supported_models_base.BASE
    network = _required_by_newer_hosts(tiny.config) | tiny.config
    attributes = {
        "unet_config": network,
        "unet_extra_config": {},
        "latent_format": latent,
        "memory_usage_factor": 2.0,
    }
    if tiny.settings is not None:
        attributes["sampling_settings"] = tiny.settings
    config = type("TinyConfig", (base,), attributes)(dict(network))
    config.unet_config["dtype"] = torch.float32
    return config


def _required_by_newer_hosts(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("image_model") not in PARAMETERS:
        return {}
    folder, name = PARAMETERS[config["image_model"]]
    parameters = getattr(importlib.import_module(f"comfy.ldm.{folder}.model"), name)
    known = {field.name for field in dataclasses.fields(parameters)}
    return {key: value for key, value in NEWER[name].items() if key in known}


def _seconds_weights() -> dict[str, Any]:
    from comfy.ldm.audio.embedders import NumberConditioner

    state = NumberConditioner(768, min_val=0, max_val=512).state_dict()
    return {"seconds_start_embedder_weights": state, "seconds_total_embedder_weights": state}
