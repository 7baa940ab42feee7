"""The tiny networks that only newer hosts have: the same as in tiny_table, for what came later."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from tiny_table import MASK, PREDICT_2, SIZE, VIDEO, WAN, Z_IMAGE, Noise, Tiny, pooled

ERNIE = {
    "image_model": "ernie", "hidden_size": 64, "num_attention_heads": 4, "num_layers": 4, "ffn_hidden_size": 96,
    "in_channels": 16, "out_channels": 16, "text_in_dim": 40, "rope_axes_dim": (4, 6, 6),
}  # fmt: skip
COG_VIDEO = {
    "image_model": "cogvideox", "num_attention_heads": 4, "attention_head_dim": 16, "time_embed_dim": 32,
    "text_embed_dim": 40, "num_layers": 3, "sample_width": 8, "sample_height": 8, "sample_frames": 5,
    "max_text_seq_length": 9, "use_rotary_positional_embeddings": True,
}  # fmt: skip
KANDINSKY = {
    "image_model": "kandinsky5", "in_text_dim": 40, "in_text_dim2": 24, "time_dim": 32, "model_dim": 64, "ff_dim": 96,
    "visual_embed_dim": 132, "num_text_blocks": 2, "num_visual_blocks": 3, "axes_dims": (4, 6, 6),
}  # fmt: skip
KREA = {
    "image_model": "krea2", "features": 64, "tdim": 32, "txtdim": 24, "heads": 4, "kvheads": 2, "layers": 3,
    "txtlayers": 2, "txtheads": 4, "txtkvheads": 4,
}  # fmt: skip
LTX_SOUND = {
    "image_model": "ltxav", "in_channels": 16, "cross_attention_dim": 64, "audio_cross_attention_dim": 32,
    "attention_head_dim": 16, "audio_attention_head_dim": 8, "num_attention_heads": 4, "audio_num_attention_heads": 4,
    "caption_channels": 40, "num_layers": 3,
}  # fmt: skip
HIDREAM_O1 = {
    "image_model": "hidream_o1",
    "text_config_overrides": {
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "rope_dims": [4, 2, 2],
    },
    "vision_config_overrides": {"hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "depth": 2},
}  # fmt: skip
IDEOGRAM = {
    "image_model": "ideogram4", "in_channels": 16, "num_layers": 3, "num_attention_heads": 4, "attention_head_dim": 16,
    "intermediate_size": 96, "adaln_dim": 32, "llm_features_dim": 40, "mrope_section": (4, 2, 2),
}  # fmt: skip
JOY = {
    "image_model": "joyimage", "hidden_size": 64, "num_attention_heads": 4, "text_dim": 40, "mlp_width_ratio": 2.0,
    "num_layers": 3, "rope_dim_list": [4, 6, 6],
}  # fmt: skip
LENS = {
    "image_model": "lens", "in_channels": 16, "out_channels": 4, "num_layers": 3, "attention_head_dim": 16,
    "num_attention_heads": 4, "enc_hidden_dim": 10, "axes_dims_rope": (4, 6, 6),
}  # fmt: skip
MINIMAX = {
    "image_model": "minimax_h3", "hidden_size": 64, "num_layers": 3, "token_refiner_num_layers": 2,
    "num_attention_heads": 4, "attention_head_dim": 24, "ffn_hidden_size": 96, "text_dim": 40, "timestep_input_dim": 32,
    "time_embed_hidden_size": 48, "time_embed_dim": 32, "rope_inv_freq_len": 4,
}  # fmt: skip
PIXEL_DIT = {
    "image_model": "pixeldit_t2i", "num_groups": 4, "hidden_size": 64, "pixel_hidden_size": 8,
    "pixel_attn_hidden_size": 32, "pixel_num_groups": 2, "patch_depth": 3, "pixel_depth": 2, "patch_size": 8,
    "txt_embed_dim": 40, "txt_max_length": 9,
}  # fmt: skip
PID = PIXEL_DIT | {
    "image_model": "pid", "lq_hidden_dim": 16, "lq_num_res_blocks": 1, "rope_ref_h": 64, "rope_ref_w": 64,
}  # fmt: skip
TRIPO = {
    "image_model": "triposplat", "q_token_length": 12, "model_channels": 64, "cond_channels": 40, "num_blocks": 3,
    "num_head_channels": 16, "cond2_channels": 24, "mlp_ratio": 2,
}  # fmt: skip
BOOGU = {
    "image_model": "boogu", "hidden_size": 64, "num_layers": 3, "num_double_stream_layers": 2, "num_refiner_layers": 2,
    "num_attention_heads": 4, "num_kv_heads": 2, "multiple_of": 16, "axes_dim_rope": (4, 6, 6),
    "axes_lens": (64, 64, 64), "instruction_feat_dim": 40,
}  # fmt: skip
SEED_VR = {
    "image_model": "seedvr2", "norm_eps": 1e-5, "num_layers": 4, "mlp_type": "swiglu", "vid_dim": 64, "heads": 4,
    "head_dim": 16, "mm_layers": 2, "rope_dim": 12, "txt_in_dim": 40, "vid_out_norm": True,
}  # fmt: skip
TRELLIS = {
    "image_model": "trellis2", "resolution": 4, "model_channels": 36, "num_heads": 2, "cond_channels": 40,
    "num_blocks": 2, "mlp_ratio": 2.0,
}  # fmt: skip
ACE_15 = {
    "audio_model": "ace1.5", "hidden_size": 64, "text_hidden_dim": 40, "num_dit_layers": 3, "num_lyric_layers": 2,
    "num_timbre_layers": 2, "num_tokenizer_layers": 1, "num_heads": 4, "num_kv_heads": 2, "head_dim": 16,
    "intermediate_size": 96, "fsq_dim": 64, "encoder_hidden_size": 64, "encoder_intermediate_size": 96,
    "encoder_num_heads": 4,
}  # fmt: skip
MAGE = {
    "image_model": "mage_flow", "in_channels": 16, "out_channels": 16, "num_layers": 3, "attention_head_dim": 16,
    "num_attention_heads": 4, "joint_attention_dim": 40, "axes_dims_rope": (4, 6, 6),
}  # fmt: skip
ZIMAGE_PIXEL = Z_IMAGE | {
    "image_model": "zimage_pixel", "in_channels": 3, "patch_size": 4, "decoder_hidden_size": 32,
    "decoder_num_res_blocks": 2,
}  # fmt: skip
WAN_DANCER = WAN | {
    "model_type": "wandancer", "in_dim": 36, "audio_inject_layers": [0, 2], "music_dim": 32, "music_heads": 2,
    "music_latent_dim": 32,
}  # fmt: skip

FLOW = {"shift": 3.0}
# The last token of a HiDream-O1 prompt is the time's.
PROMPT = {"text_input_ids": torch.tensor([[151644, 872, 198, 1, 2, 3, 151673]])}
LOW = {"lq_latent": Noise(1, 16, 4, 4, seed=5, varies=False), "degrade_sigma": torch.tensor([0.2])}
SEEN = {"condition": Noise(1, 17, 2, 8, 8, seed=6, varies=False)}


@contextmanager
def _smaller(name: str, *numbers: int, **named: int) -> Generator[None, None, None]:
    """A class of the host with other numbers than those that are written into its network."""
    module, _, cls = name.rpartition(".")
    made = getattr(importlib.import_module(module), cls)

    def smaller(*args: Any, **kwargs: Any) -> Any:
        return made(*numbers, *args[len(numbers) :], **{**kwargs, **named})

    with mock.patch(name, smaller):
        yield


@contextmanager
def _short_music() -> Generator[None, None, None]:
    """Two blocks instead of 36, and narrow ones."""
    module = "comfy.ldm.minimax_music.dit"
    with _smaller(f"{module}.TransformerBlock", 2048, 64, 128), mock.patch(f"{module}.range", _two, create=True):
        yield


def _two(count: int) -> range:
    return range(min(count, 2))

NEWEST: dict[str, Tiny] = {
    "hidream_o1": Tiny(
        "HiDreamO1", HIDREAM_O1, (1, 3, 64, 64), supported="HiDreamO1", latent="HiDreamO1Pixel",
        settings=FLOW | {"noise_scale": 8.0}, extra=PROMPT,
    ),
    "ideogram4": Tiny(
        "Ideogram4", IDEOGRAM, SIZE, supported="Ideogram4", latent="Flux2", latent_channels=16,
        settings=FLOW | {"multiplier": 1.0}, extra=MASK,
    ),
    "joyimage": Tiny(
        "JoyImage", JOY, (1, 16, 1, 8, 8), supported="JoyImage", latent="Wan21", settings=FLOW | {"multiplier": 1000.0}
    ),
    "lens": Tiny("Lens", LENS, SIZE, supported="Lens", latent="Flux2", latent_channels=16, settings=FLOW, extra=MASK),
    "minimax_h3": Tiny(
        "MiniMaxH3", MINIMAX, (1, 24, 2, 4, 4), supported="MiniMaxH3", latent="MiniMaxH3AV",
        settings={"shift": 12.0, "audio_shift": 3.0}, sound=(1, 32, 2, 5),
    ),
    "minimax_music3": Tiny(
        "MiniMaxMusic3", {"audio_model": "minimax_music3"}, (1, 128, 8), (3, 32768), supported="MiniMaxMusic3",
        latent="MiniMaxMusic3", settings={"multiplier": 1.0}, extra={"conditioning_scale": torch.ones(1, 1, 1)},
        smaller=_short_music,
    ),
    "pixeldit": Tiny(
        "PixelDiTT2I", PIXEL_DIT, (1, 3, 32, 32), supported="PixelDiTT2I", latent="PixelDiTPixel", settings=FLOW
    ),
    "pid": Tiny(
        "PiD", PID, (1, 3, 32, 32), supported="PiD", latent="PixelDiTPixel", settings=FLOW, extra=LOW
    ),
    "triposplat": Tiny(
        "TripoSplat", TRIPO, (1, 12, 16), supported="TripoSplat", latent="TripoSplat", settings=FLOW, sound=(1, 1, 5)
    ),
    "wan_animate2": Tiny(
        "WAN_Animate2", WAN | {"model_type": "animate2", "in_dim": 36}, VIDEO, supported="WAN_Animate2", latent="Wan21",
        settings=FLOW, extra={"pose_video_latent": Noise(1, 16, 1, 8, 8, seed=7, varies=False)},
    ),
    "wan_dancer": Tiny(
        "WAN22_WanDancer", WAN_DANCER, VIDEO, supported="WAN22_WanDancer", latent="Wan21", settings=FLOW,
        extra={"audio_embed": Noise(1, 10, 35, seed=8, varies=False)},
    ),
    "wan_scail": Tiny(
        "WAN21_SCAIL", WAN | {"model_type": "scail", "in_dim": 20}, VIDEO, supported="WAN21_SCAIL", latent="Wan21",
        settings=FLOW,
    ),
    "wan_scail2": Tiny(
        "WAN21_SCAIL2", WAN | {"model_type": "scail2", "in_dim": 20}, VIDEO, supported="WAN21_SCAIL2", latent="Wan21",
        settings=FLOW,
    ),
    "boogu": Tiny(
        "Boogu", BOOGU, SIZE, supported="Boogu", latent="Flux", settings=FLOW | {"multiplier": 1.0}, extra=MASK
    ),
    "seedvr2": Tiny("SeedVR2", SEED_VR, VIDEO, supported="SeedVR2", latent="SeedVR2", settings=FLOW, extra=SEEN),
    "trellis2": Tiny(
        "Trellis2", TRELLIS, (1, 32, 16, 16, 16), supported="Trellis2", latent="Trellis2", settings=FLOW,
        extra={"embeds": Noise(1, 9, 40, seed=9)},
    ),
    "ace_step15": Tiny(
        "ACEStep15", ACE_15, (1, 64, 20), supported="ACEStep15", latent="ACEAudio15",
        settings=FLOW | {"multiplier": 1.0}, extra={"conditioning_lyrics": Noise(1, 5, 40, seed=2)},
    ),
    "mage_flow": Tiny(
        "MageFlow", MAGE, SIZE, supported="MageFlow", latent="Flux2", latent_channels=16,
        settings=FLOW | {"multiplier": 1.0},
    ),
    "anima": Tiny(
        "Anima", PREDICT_2 | {"image_model": "anima"}, VIDEO, supported="Anima", latent="Wan21",
        settings=FLOW | {"multiplier": 1.0},
        smaller=partial(
            _smaller, "comfy.ldm.anima.model.LLMAdapter", source_dim=40, target_dim=40, model_dim=32, num_layers=2,
            num_heads=2,
        ),
    ),
    "zimage_pixel": Tiny(
        "ZImagePixelSpace", ZIMAGE_PIXEL, (1, 3, 16, 16), supported="ZImagePixelSpace", latent="ZImagePixelSpace",
        settings=FLOW | {"multiplier": 1.0}, extra=MASK,
    ),
    "ernie": Tiny(
        "ErnieImage", ERNIE, SIZE, supported="ErnieImage", latent="Flux2", latent_channels=16,
        settings=FLOW | {"multiplier": 1000.0},
    ),
    "cogvideox": Tiny("CogVideoX", COG_VIDEO, VIDEO, supported="CogVideoX_T2V", latent="CogVideoX"),
    "kandinsky5": Tiny(
        "Kandinsky5", KANDINSKY, VIDEO, supported="Kandinsky5", latent="HunyuanVideo", settings=FLOW,
        extra=pooled(24),
    ),
    "krea2": Tiny(
        "Krea2", KREA, SIZE, (9, 48), supported="Krea2", latent="Wan21", settings=FLOW | {"multiplier": 1.0}
    ),
    "ltxav": Tiny(
        "LTXAV", LTX_SOUND, (1, 16, 2, 4, 4), (9, 80), supported="LTXAV", latent="LTXAV", latent_channels=16,
        settings=FLOW, extra=MASK, sound=(1, 8, 5, 16),
    ),
}  # fmt: skip
