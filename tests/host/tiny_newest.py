"""Tiny networks of newer hosts: of blocks that no row of the families' table knows, and with sound."""

from __future__ import annotations

from tiny_table import MASK, SIZE, VIDEO, Tiny, pooled

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

FLOW = {"shift": 3.0}

NEWEST: dict[str, Tiny] = {
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
