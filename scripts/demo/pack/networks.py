"""The demo networks, built from the host's own classes."""

from functools import partial

import comfy.latent_formats
import comfy.model_base
import comfy.supported_models
import comfy.supported_models_base
import torch
from comfy.ldm.flux.model import FluxParams

LATENT_CHANNELS = 16
TEXT_WIDTH = 128

UNET = {
    "image_size": 16,
    "use_checkpoint": False,
    "legacy": False,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "model_channels": 64,
    "channel_mult": [1, 2],
    "num_res_blocks": [2, 1],
    "transformer_depth": [0, 0, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 0, 1, 1],
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "context_dim": TEXT_WIDTH,
    "adm_in_channels": None,
    "num_heads": 4,
    "num_head_channels": -1,
    "use_temporal_attention": False,
}

DIT = {
    "image_model": "flux",
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "patch_size": 2,
    "hidden_size": 192,
    "num_heads": 6,
    "mlp_ratio": 1.5,
    "depth": 2,
    "depth_single_blocks": 6,
    "axes_dim": [8, 12, 12],
    "theta": 1000,
    "vec_in_dim": TEXT_WIDTH,
    "context_in_dim": TEXT_WIDTH,
    "qkv_bias": True,
    "guidance_embed": False,
}

# The host's Wan, which is also given what a clip starts and ends with: 4 channels of what is given and 16 of latents.
GIVEN_CHANNELS = 4 + LATENT_CHANNELS
VIDEO = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "patch_size": [1, 2, 2],
    "text_len": 8,
    "in_dim": LATENT_CHANNELS + GIVEN_CHANNELS,
    "out_dim": LATENT_CHANNELS,
    "dim": 192,
    "ffn_dim": 640,
    "freq_dim": 128,
    "text_dim": TEXT_WIDTH,
    "num_heads": 4,
    "num_layers": 6,
}

NETWORKS = {"unet": UNET, "dit": DIT, "video": VIDEO}
# The latents are smooth, so a drawing's colours and outline show through strong noise. The UNet's latents are made
# small and the transformer's times are moved towards noise (by exp(1.3)), or sampling would take both from the seed.
LATENT_SCALE = {"unet": 0.3, "dit": 1.0, "video": 1.0}
LATENT_DIMENSIONS = {"unet": 2, "dit": 2, "video": 3}
FLOW_SHIFT = 1.3
VIDEO_SHIFT = 5.0


class UNetConfig(comfy.supported_models_base.BASE):
    """The host's description of the eps-predicting UNet with the SD noise schedule."""

    unet_extra_config = {}
    memory_usage_factor = 1.0


class DiTConfig(comfy.supported_models.Flux):
    """The host's description of the flow-matching transformer."""

    unet_config = {}
    unet_extra_config = {}
    sampling_settings = {"shift": FLOW_SHIFT}
    memory_usage_factor = 1.0


class VideoConfig(comfy.supported_models.WAN21_T2V):
    """The host's description of the video transformer, which also makes clips of pictures."""

    unet_config = {}
    unet_extra_config = {}
    sampling_settings = {"shift": VIDEO_SHIFT}

    def __init__(self, unet_config):
        super().__init__(unet_config)
        self.memory_usage_factor = 1.0


FAMILIES = {
    "unet": (UNetConfig, comfy.model_base.BaseModel, comfy.model_base.ModelType.EPS),
    "dit": (DiTConfig, comfy.model_base.Flux, comfy.model_base.ModelType.FLUX),
    "video": (VideoConfig, partial(comfy.model_base.WAN21, image_to_video=True), comfy.model_base.ModelType.FLOW),
}


def build_model(family: str, network: dict, latent: comfy.latent_formats.LatentFormat) -> comfy.model_base.BaseModel:
    """A host model around a network of the given family, float32, with uninitialised weights."""
    describe, build, sampling = FAMILIES[family]
    config = describe({**network, **_newer_fields(family), "dtype": torch.float32})
    config.latent_format = latent
    return build(config, model_type=sampling)


def _newer_fields(family: str) -> dict:
    """Fields that later versions of the host added to Flux without a default."""
    known = FluxParams.__dataclass_fields__
    return {"txt_ids_dims": []} if family == "dit" and "txt_ids_dims" in known else {}


def latent_format(family: str, rgb_factors: list, rgb_bias: list) -> comfy.latent_formats.LatentFormat:
    """The scale between the codec's latents and the network's; the factors give the host its live preview."""
    latent = comfy.latent_formats.LatentFormat()
    latent.scale_factor = LATENT_SCALE[family]
    latent.latent_channels = LATENT_CHANNELS
    latent.latent_dimensions = LATENT_DIMENSIONS[family]
    latent.latent_rgb_factors = [[value / latent.scale_factor for value in row] for row in rgb_factors]
    latent.latent_rgb_factors_bias = rgb_bias
    return latent
