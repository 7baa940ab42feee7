"""The tiny networks as data: configurations with few channels and blocks, for every diffusion class of the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch


class Noise:
    """Gaussian noise of a shape; another for each prompt if it `varies`, and `copies` of it as a list."""

    def __init__(self, *shape: int, seed: int = 0, varies: bool = True, copies: int = 0) -> None:
        self.shape, self.seed, self.varies, self.copies = shape, seed, varies, copies


@dataclass(frozen=True)
class Tiny:
    """A model by the host's names: `base` in model_base, `supported` in supported_models, `latent` in latent_formats.

    `shape` is the latent's, `cross` the tokens and width of the prompt, `extra` what else the prompt carries,
    `arguments` are given to the BaseModel, `embedders` are modules beside the network with weights of their own. With
    `sound` the latent has two parts. `smaller` is there while the network is made.
    """

    base: str
    config: Mapping[str, Any]
    shape: tuple[int, ...]
    cross: tuple[int, int] = (9, 40)
    supported: str = "BASE"
    latent: str = "SD15"
    latent_channels: int = 0
    settings: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    embedders: tuple[str, ...] = ()
    sound: tuple[int, ...] = ()
    smaller: Callable[[], AbstractContextManager[None]] = nullcontext


def pooled(width: int) -> dict[str, Any]:
    return {"pooled_output": Noise(1, width, seed=1)}


MASK = {"attention_mask": torch.ones(1, 9, dtype=torch.long)}
NO_POOLED = {"pooled_output": None}

UNET = {
    "image_size": 32, "use_checkpoint": False, "legacy": False, "in_channels": 4, "out_channels": 4,
    "model_channels": 32, "context_dim": 32, "use_spatial_transformer": True,
}  # fmt: skip
SD15 = UNET | {
    "num_res_blocks": [2, 2], "transformer_depth": [1, 1, 1, 1], "transformer_depth_output": [1] * 6,
    "channel_mult": [1, 2], "use_linear_in_transformer": False, "transformer_depth_middle": 1,
    "adm_in_channels": None, "num_heads": 4, "num_head_channels": -1, "use_temporal_attention": False,
}  # fmt: skip
SDXL = UNET | {
    "num_res_blocks": [2, 2, 2], "transformer_depth": [0, 0, 2, 2, 3, 3],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 3, 3, 3], "channel_mult": [1, 2, 4],
    "use_linear_in_transformer": True, "transformer_depth_middle": 3, "adm_in_channels": 2816,
    "num_classes": "sequential", "num_heads": -1, "num_head_channels": 16,
}  # fmt: skip
# Up- and down-sampling inside residual blocks, and time as scale and shift (SD x4 upscaler and guided diffusion).
UPDOWN = SD15 | {
    "num_res_blocks": [1, 1], "transformer_depth": [1, 1], "transformer_depth_output": [1] * 4,
    "resblock_updown": True, "use_scale_shift_norm": True,
}  # fmt: skip
SVD = UNET | {
    "in_channels": 8, "num_res_blocks": [2, 2], "transformer_depth": [1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 0, 0, 0], "channel_mult": [1, 2], "use_linear_in_transformer": True,
    "transformer_depth_middle": 1, "adm_in_channels": 768, "num_classes": "sequential", "num_heads": -1,
    "num_head_channels": 16, "use_temporal_attention": True, "use_temporal_resblock": True,
    "extra_ff_mix_layer": True, "use_spatial_context": True, "merge_strategy": "learned_with_images",
    "merge_factor": 0.0, "video_kernel_size": [3, 1, 1], "disable_temporal_crossattention": False,
}  # fmt: skip

FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 24, "context_in_dim": 40,
    "hidden_size": 64, "mlp_ratio": 2.0, "num_heads": 4, "depth": 2, "depth_single_blocks": 3,
    "axes_dim": [4, 6, 6], "theta": 10000, "patch_size": 2, "qkv_bias": True, "guidance_embed": True,
}  # fmt: skip
FLUX2 = FLUX | {
    "image_model": "flux2", "vec_in_dim": None, "axes_dim": [4, 4, 4, 4], "theta": 2000, "patch_size": 1,
    "qkv_bias": False, "global_modulation": True, "mlp_silu_act": True, "ops_bias": False,
}  # fmt: skip
CHROMA = {
    "image_model": "chroma", "in_channels": 64, "out_channels": 64, "context_in_dim": 40, "hidden_size": 64,
    "mlp_ratio": 2.0, "num_heads": 4, "depth": 19, "depth_single_blocks": 38, "axes_dim": [4, 6, 6], "theta": 10000,
    "patch_size": 2, "qkv_bias": True, "in_dim": 64, "out_dim": 64, "hidden_dim": 64, "n_layers": 2,
}  # fmt: skip
RADIANCE = CHROMA | {
    "image_model": "chroma_radiance", "in_channels": 3, "out_channels": 3, "patch_size": 16, "nerf_hidden_size": 16,
    "nerf_mlp_ratio": 2, "nerf_depth": 2, "nerf_max_freqs": 4, "nerf_tile_size": 3, "nerf_final_head_type": "conv",
    "nerf_embedder_dtype": torch.float32,
}  # fmt: skip
HUNYUAN_VIDEO = FLUX | {
    "image_model": "hunyuan_video", "theta": 256, "patch_size": [1, 2, 2], "byt5": False, "meanflow": False,
    "use_cond_type_embedding": False, "vision_in_dim": None,
}  # fmt: skip
HUNYUAN_IMAGE = HUNYUAN_VIDEO | {"vec_in_dim": None, "axes_dim": [8, 8], "patch_size": [1, 1], "meanflow": True}
HUNYUAN_3D = {
    "image_model": "hunyuan3d2", "in_channels": 16, "context_in_dim": 40, "hidden_size": 64, "mlp_ratio": 2.0,
    "num_heads": 4, "depth": 2, "depth_single_blocks": 3, "qkv_bias": True, "guidance_embed": False,
}  # fmt: skip
HUNYUAN_3D_21 = {
    "image_model": "hunyuan3d2_1", "in_channels": 16, "hidden_size": 64, "context_dim": 40, "depth": 5,
    "num_heads": 4, "num_moe_layers": 2, "guidance_cond_proj_dim": 64, "num_experts": 4, "moe_top_k": 2,
}  # fmt: skip
SD3 = {
    "input_size": None, "patch_size": 2, "in_channels": 16, "depth": 2, "mlp_ratio": 2.0, "adm_in_channels": 24,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 40, "out_features": 128}},
    "num_patches": 36864 // 16, "pos_embed_max_size": 48, "num_blocks": 4, "qk_norm": "rms",
    "x_block_self_attn_layers": [0, 1], "context_size": 40, "context_processor_layers": 2,
}  # fmt: skip
AURA = {
    "in_channels": 4, "out_channels": 4, "patch_size": 2, "dim": 64, "n_layers": 4, "n_double_layers": 2,
    "n_heads": 4, "global_conddim": 64, "cond_seq_dim": 40, "max_seq": 64,
}  # fmt: skip
STABLE_AUDIO = {
    "audio_model": "dit1.0", "io_channels": 16, "embed_dim": 64, "cond_token_dim": 768,
    "project_cond_tokens": True, "global_cond_dim": 1536, "project_global_cond": True, "depth": 3, "num_heads": 2,
    "transformer_type": "continuous_transformer", "global_cond_type": "prepend",
}  # fmt: skip
HUNYUAN_DIT = {
    "image_model": "hydit", "num_heads": 4, "hidden_size": 64, "depth": 6, "mlp_ratio": 2.0, "size_cond": False,
    "use_style_cond": False, "text_states_dim": 32, "text_states_dim_t5": 48, "text_len": 7, "text_len_t5": 11,
    "input_size": [8, 8], "patch_size": 2, "in_channels": 4,
}  # fmt: skip
PIXART = {
    "image_model": "pixart_sigma", "num_heads": 4, "hidden_size": 72, "depth": 3, "caption_channels": 40,
    "input_size": 8, "patch_size": 2, "in_channels": 4, "micro_condition": False, "pe_interpolation": 1,
    "model_max_length": 9, "pe_precision": None,
}  # fmt: skip
MOCHI = {
    "image_model": "mochi_preview", "depth": 3, "in_channels": 12, "hidden_size_x": 64, "hidden_size_y": 32,
    "num_heads": 4, "mlp_ratio_x": 192.0, "mlp_ratio_y": 4.0, "learn_sigma": False, "patch_size": 2,
    "t5_feat_dim": 40, "t5_token_length": 9, "use_t5": True, "timestep_scale": 1000.0, "qk_norm": True,
    "qkv_bias": False, "out_bias": True, "attn_drop": 0.0, "patch_embed_bias": True,
}  # fmt: skip
LTXV = {
    "image_model": "ltxv", "in_channels": 16, "cross_attention_dim": 64, "attention_head_dim": 16,
    "num_attention_heads": 4, "caption_channels": 40, "num_layers": 3,
}  # fmt: skip
COSMOS = {
    "max_img_h": 16, "max_img_w": 16, "max_frames": 8, "in_channels": 16, "out_channels": 16, "patch_spatial": 2,
    "patch_temporal": 1, "model_channels": 64, "num_blocks": 3, "num_heads": 2, "crossattn_emb_channels": 40,
    "pos_emb_cls": "rope3d", "use_adaln_lora": True, "adaln_lora_dim": 16, "concat_padding_mask": True,
    "rope_h_extrapolation_ratio": 1.0, "rope_w_extrapolation_ratio": 1.0, "rope_t_extrapolation_ratio": 1.0,
    "extra_h_extrapolation_ratio": 1.0, "extra_w_extrapolation_ratio": 1.0, "extra_t_extrapolation_ratio": 1.0,
}  # fmt: skip
COSMOS_1 = COSMOS | {
    "image_model": "cosmos", "block_config": "FA-CA-MLP", "mlp_ratio": 2.0, "block_x_format": "THWBD",
    "use_cross_attn_mask": False, "pos_emb_learnable": False, "pos_emb_interpolation": "crop",
    "affline_emb_norm": True, "rope_t_extrapolation_ratio": 2.0, "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable",
}  # fmt: skip
PREDICT_2 = COSMOS | {
    "image_model": "cosmos_predict2", "pos_emb_learnable": True, "pos_emb_interpolation": "crop", "min_fps": 1,
    "max_fps": 30, "extra_per_block_abs_pos_emb": False, "rope_enable_fps_modulation": False,
}  # fmt: skip
LUMINA = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 64, "n_layers": 3, "n_refiner_layers": 2,
    "n_heads": 4, "n_kv_heads": 2, "cap_feat_dim": 40, "axes_dims": [4, 6, 6], "axes_lens": [300, 512, 512],
    "qk_norm": True,
}  # fmt: skip
Z_IMAGE = LUMINA | {
    "dim": 256, "n_heads": 16, "n_kv_heads": 16, "z_image_modulation": True, "time_scale": 1000.0,
    "pad_tokens_multiple": 32, "ffn_dim_multiplier": 8.0 / 3.0,
}  # fmt: skip
WAN = {
    "image_model": "wan2.1", "model_type": "t2v", "patch_size": (1, 2, 2), "text_len": 9, "in_dim": 16, "dim": 48,
    "ffn_dim": 96, "freq_dim": 32, "text_dim": 40, "out_dim": 16, "num_heads": 2, "num_layers": 5,
}  # fmt: skip
WAN_VACE = WAN | {"model_type": "vace", "num_layers": 4, "vace_layers": 2, "vace_in_dim": 96}
WAN_S2V = WAN | {
    "model_type": "s2v", "audio_dim": 24, "num_audio_token": 4, "enable_adain": True, "cond_dim": 16,
    "audio_inject_layers": [0, 2],
}  # fmt: skip
HIDREAM = {
    "image_model": "hidream", "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 2,
    "num_single_layers": 3, "attention_head_dim": 16, "num_attention_heads": 4, "caption_channels": [40, 48],
    "text_emb_dim": 24, "num_routed_experts": 4, "num_activated_experts": 2, "axes_dims_rope": [4, 6, 6],
    "max_resolution": [16, 16], "llama_layers": [0, 1, 2, 3, 4],
}  # fmt: skip
ACE = {
    "audio_model": "ace", "in_channels": 8, "num_layers": 3, "inner_dim": 64, "attention_head_dim": 16,
    "num_attention_heads": 4, "mlp_ratio": 2.0, "out_channels": 8, "text_embedding_dim": 40,
    "lyric_encoder_vocab_size": 64, "lyric_hidden_size": 1024, "patch_size": [16, 1], "ssl_latent_dims": [8, 8],
}  # fmt: skip
OMNIGEN = {
    "image_model": "omnigen2", "patch_size": 2, "in_channels": 16, "hidden_size": 64, "num_layers": 3,
    "num_refiner_layers": 2, "num_attention_heads": 4, "num_kv_heads": 2, "multiple_of": 16, "norm_eps": 1e-5,
    "axes_dim_rope": (4, 6, 6), "axes_lens": (64, 64, 64), "text_feat_dim": 40, "timestep_scale": 1000.0,
}  # fmt: skip
QWEN = {
    "image_model": "qwen_image", "patch_size": 2, "in_channels": 64, "out_channels": 16, "num_layers": 3,
    "attention_head_dim": 16, "num_attention_heads": 4, "joint_attention_dim": 40, "axes_dims_rope": (4, 6, 6),
}  # fmt: skip
CASCADE_C = {
    "stable_cascade_stage": "c", "c_in": 16, "c_out": 16, "c_r": 64, "c_cond": 64, "c_hidden": [64, 64],
    "nhead": [4, 4], "blocks": [[1, 2], [2, 1]], "block_repeat": [[1, 1], [1, 1]], "c_clip_text": 40,
    "c_clip_text_pooled": 24, "c_clip_img": 768, "switch_level": [False],
}  # fmt: skip
CASCADE_B = {
    "stable_cascade_stage": "b", "c_in": 4, "c_out": 4, "c_r": 64, "c_cond": 32, "c_hidden": [16, 32, 64, 64],
    "nhead": [-1, -1, 4, 4], "blocks": [[1, 1, 2, 1], [1, 2, 1, 1]], "block_repeat": [[1, 1, 1, 1], [3, 3, 2, 2]],
    "c_clip": 24,
}  # fmt: skip

# What later versions of the host require of these networks, by the name of their parameters.
NEWER = {
    "FluxParams": {"txt_ids_dims": []},
    "ChromaParams": {"txt_ids_dims": [1, 2], "vec_in_dim": None},
    "ChromaRadianceParams": {
        "txt_ids_dims": [1, 2], "vec_in_dim": None, "use_x0": False, "use_sequential_txt_ids": False
    },
    "HunyuanVideoParams": {"meanflow_sum": False},
}  # fmt: skip
PARAMETERS = {
    "flux": ("flux", "FluxParams"), "flux2": ("flux", "FluxParams"), "chroma": ("chroma", "ChromaParams"),
    "chroma_radiance": ("chroma_radiance", "ChromaRadianceParams"),
    "hunyuan_video": ("hunyuan_video", "HunyuanVideoParams"),
}  # fmt: skip

SIZE = (1, 16, 8, 8)
VIDEO = (1, 16, 2, 8, 8)
T5_MASK = {
    "attention_mask": torch.ones(1, 7), "conditioning_mt5xl": Noise(1, 11, 48, seed=1),
    "attention_mask_mt5xl": torch.ones(1, 11),
}  # fmt: skip
LYRICS = {"conditioning_lyrics": torch.ones(1, 5, dtype=torch.long), "lyrics_strength": 1.0}
LLAMA = pooled(24) | {"conditioning_llama3": Noise(1, 5, 11, 48, seed=2)}
PRIOR = pooled(24) | {"stable_cascade_prior": Noise(1, 16, 8, 8, seed=9, varies=False)}


def _flow(shift: float, multiplier: float | None = None) -> dict[str, float]:
    return {"shift": shift} if multiplier is None else {"multiplier": multiplier, "shift": shift}


def _wan(base: str, config: Mapping[str, Any] = WAN, **more: Any) -> Tiny:
    return Tiny(base, config, VIDEO, supported="WAN21_T2V", latent="Wan21", settings=_flow(8.0), **more)


def _edm(data: float, highest: float = 80.0) -> dict[str, float]:
    return {"sigma_data": data, "sigma_max": highest, "sigma_min": 0.002}


TINY: dict[str, Tiny] = {
    "unet_sd15": Tiny("BaseModel", SD15, (1, 4, 16, 16), (7, 32)),
    "unet_sdxl": Tiny("SDXL", SDXL, (1, 4, 16, 16), (7, 32), extra=pooled(1280)),
    "unet_updown": Tiny("BaseModel", UPDOWN, (1, 4, 16, 16), (7, 32)),
    "unet_svd": Tiny(
        "SVD_img2vid", SVD, (4, 4, 8, 8), (1, 32), settings={"sigma_max": 700.0, "sigma_min": 0.002},
        extra={"concat_latent_image": Noise(1, 4, 8, 8, seed=3)},
    ),
    "flux": Tiny(
        "Flux", FLUX, SIZE, supported="Flux", latent="Flux", settings={}, extra=pooled(24) | {"guidance": 3.5}
    ),
    "flux2": Tiny(
        "Flux2", FLUX2, SIZE, supported="Flux", latent="Flux", latent_channels=16, settings={},
        extra=NO_POOLED | {"guidance": 3.5},
    ),
    "chroma": Tiny(
        "Chroma", CHROMA, SIZE, supported="Chroma", latent="Flux", settings={"multiplier": 1.0}, extra=NO_POOLED
    ),
    "chroma_radiance": Tiny(
        "ChromaRadiance", RADIANCE, (1, 3, 64, 64), supported="Chroma", latent="ChromaRadiance",
        settings={"multiplier": 1.0}, extra=NO_POOLED,
    ),
    "sd3": Tiny("SD3", SD3, SIZE, supported="SD3", latent="SD3", settings=_flow(3.0), extra=pooled(24)),
    "auraflow": Tiny("AuraFlow", AURA, (1, 4, 8, 8), supported="AuraFlow", latent="SDXL", settings=_flow(1.73, 1.0)),
    "stable_audio": Tiny(
        "StableAudio1", STABLE_AUDIO, (1, 16, 32), (9, 768), supported="StableAudio", latent="StableAudio1",
        latent_channels=16, settings={"sigma_max": 500.0, "sigma_min": 0.03},
        embedders=("seconds_start_embedder", "seconds_total_embedder"),
    ),
    "hunyuan_dit": Tiny(
        "HunyuanDiT", HUNYUAN_DIT, (1, 4, 8, 8), (7, 32), supported="HunyuanDiT", latent="SDXL",
        settings={"linear_start": 0.00085, "linear_end": 0.018}, extra=T5_MASK,
    ),
    "pixart": Tiny(
        "PixArt", PIXART, (1, 4, 40, 40), supported="PixArtSigma", latent="SDXL",
        settings={"beta_schedule": "sqrt_linear", "linear_start": 0.0001, "linear_end": 0.02, "timesteps": 1000},
    ),
    "mochi": Tiny(
        "GenmoMochi", MOCHI, (1, 12, 2, 8, 8), supported="GenmoMochi", latent="Mochi", settings=_flow(6.0, 1.0),
        extra=MASK,
    ),
    "ltxv": Tiny(
        "LTXV", LTXV, (1, 16, 2, 4, 4), supported="LTXV", latent="LTXV", latent_channels=16, settings=_flow(2.37),
        extra=MASK,
    ),
    "hunyuan_video": Tiny(
        "HunyuanVideo", HUNYUAN_VIDEO, VIDEO, supported="HunyuanVideo", latent="HunyuanVideo", settings=_flow(7.0),
        extra=pooled(24),
    ),
    "hunyuan_image": Tiny(
        "HunyuanImage21", HUNYUAN_IMAGE, SIZE, supported="HunyuanVideo", latent="HunyuanImage21", latent_channels=16,
        settings=_flow(5.0), extra=NO_POOLED,
    ),
    "cosmos1": Tiny(
        "CosmosVideo", COSMOS_1, VIDEO, supported="CosmosT2V", latent="Cosmos1CV8x8x8", settings=_edm(0.5)
    ),
    "cosmos_predict2": Tiny(
        "CosmosPredict2", PREDICT_2, VIDEO, supported="CosmosT2IPredict2", latent="Wan21", settings=_edm(1.0)
    ),
    "lumina2": Tiny(
        "Lumina2", LUMINA, SIZE, supported="Lumina2", latent="Flux", settings=_flow(6.0, 1.0), extra=MASK
    ),
    "zimage": Tiny(
        "Lumina2", Z_IMAGE, SIZE, supported="Lumina2", latent="Flux", settings=_flow(3.0, 1.0), extra=MASK
    ),
    "wan21": _wan("WAN21"),
    "wan22_ti2v": _wan("WAN22", arguments={"image_to_video": True}),
    "wan_vace": _wan("WAN21_Vace", WAN_VACE, extra={"vace_frames": Noise(1, 32, 2, 8, 8, seed=4, copies=2)}),
    "wan_camera": _wan("WAN21_Camera", WAN | {"model_type": "camera", "in_dim_control_adapter": 24}),
    "wan_s2v": _wan("WAN22_S2V", WAN_S2V),
    "wan_humo": _wan("WAN21_HuMo", WAN | {"model_type": "humo", "audio_token_num": 16}),
    "wan_animate": _wan("WAN22_Animate", WAN | {"model_type": "animate"}),
    "hunyuan3d2": Tiny(
        "Hunyuan3Dv2", HUNYUAN_3D, (1, 16, 24), supported="Hunyuan3Dv2", latent="Hunyuan3Dv2", latent_channels=16,
        settings=_flow(1.0, 1.0),
    ),
    "hunyuan3d21": Tiny(
        "Hunyuan3Dv2_1", HUNYUAN_3D_21, (1, 16, 24), supported="Hunyuan3Dv2", latent="Hunyuan3Dv2_1",
        latent_channels=16, settings=_flow(1.0),
    ),
    "hidream": Tiny(
        "HiDream", HIDREAM, SIZE, supported="HiDream", latent="Flux", settings=_flow(3.0), extra=LLAMA
    ),
    "ace_step": Tiny(
        "ACEStep", ACE, (1, 8, 16, 24), supported="ACEStep", latent="ACEAudio", settings=_flow(3.0), extra=LYRICS
    ),
    "omnigen2": Tiny(
        "Omnigen2", OMNIGEN, SIZE, supported="Omnigen2", latent="Flux", settings=_flow(2.6, 1.0), extra=MASK
    ),
    "qwen_image": Tiny(
        "QwenImage", QWEN, (1, 16, 1, 8, 8), supported="QwenImage", latent="Wan21", settings=_flow(1.15, 1.0)
    ),
    "cascade_c": Tiny("StableCascade_C", CASCADE_C, SIZE, latent="SC_Prior", settings=_flow(2.0), extra=pooled(24)),
    "cascade_b": Tiny("StableCascade_B", CASCADE_B, (1, 4, 32, 32), latent="SC_B", settings=_flow(1.0), extra=PRIOR),
}  # fmt: skip
