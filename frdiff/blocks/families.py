"""Which pieces of each network family can be remembered: tables, keyed by qualified class name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from ..typed import modules_of

# Where a block's input is found in its call: position, name when it is passed by keyword, and place in a tuple.
Argument = tuple[int, str] | tuple[int, str, int]


@dataclass(frozen=True)
class Family:
    """How one class of block is remembered; paths are relative to the block, `*` stands for one name.

    `inputs` pairs each output with the input that it adds to: the residual, output minus input, is kept.
    `mutates` says that the block writes into them. `base` names the child whose first argument is what the
    residual adds to, where the block projects its input before. `after` names the child that makes one
    more output, the first, of the result. `method` is what the network calls, where that is not `forward`.

    With `child` the value that this child returns is kept instead and the rest of the block stays fresh;
    `idle` children work for it alone and rest with it; where the child `skip` does nothing the whole residual can
    be kept as well. `branches` are the finer stages: children that return a whole branch before its gate; without
    `inputs` and `child` there are no others.
    """

    inputs: tuple[Argument, ...]
    mutates: bool = False
    base: str = ""
    after: str = ""
    child: str = ""
    idle: tuple[str, ...] = ()
    skip: str = ""
    branches: tuple[str, ...] = ()
    method: str = "forward"


X: tuple[Argument, ...] = ((0, "x"),)
HIDDEN: tuple[Argument, ...] = ((0, "hidden_states"),)
HIDDEN_AND_TEXT: tuple[Argument, ...] = ((0, "hidden_states"), (1, "encoder_hidden_states"))
TEXT_AND_HIDDEN: tuple[Argument, ...] = ((1, "encoder_hidden_states"), (0, "hidden_states"))
JOINT_BRANCHES = ("attn", "img_mlp", "txt_mlp")
AUDIO_BRANCHES = ("audio_attn1", "audio_attn2", "audio_ff", "audio_to_video_attn", "video_to_audio_attn")
LTX_BRANCHES = ("attn1", "attn2", "ff", *AUDIO_BRANCHES)
SELF_CROSS_FFN = ("self_attn", "cross_attn", "ffn")

# The convolution before the time embedding (arXiv 2312.03517, figure 4), whatever the block's variant does
# around it: sampling up or down before, scale and shift after, time as a dimension.
UNET_RES_BLOCK = Family(X, child="in_layers.2", idle=("in_layers.0", "in_layers.1", "h_upd"), skip="skip_connection")
UNET_BRANCHES = tuple(f"transformer_blocks.*.{name}" for name in ("attn1", "attn2", "ff"))
UNET_TIME_BRANCHES = tuple(f"time_stack.*.{name}" for name in ("attn1", "attn2", "ff"))
UNET = "comfy.ldm.modules.diffusionmodules.openaimodel."

# In a network with a row, blocks without one are computed at every step. Some on purpose: Cascade's TimestepBlock is
# the time embedding, and ChromaRadiance's NeRF blocks are the final layer, whose weights the image tokens make.
FAMILIES: dict[str, Family] = {
    UNET + "ResBlock": UNET_RES_BLOCK,
    UNET + "VideoResBlock": UNET_RES_BLOCK,
    # The whole branch up to proj_out, without the residual.
    "comfy.ldm.modules.attention.SpatialTransformer": Family(X, branches=UNET_BRANCHES),
    "comfy.ldm.modules.attention.SpatialVideoTransformer": Family(X, branches=UNET_BRANCHES + UNET_TIME_BRANCHES),
    # Flux, Flux 2, Chroma, HunyuanVideo, HunyuanImage, Hunyuan3D 2.0: attention is a function, not a module.
    "comfy.ldm.flux.layers.DoubleStreamBlock": Family(
        ((0, "img"), (1, "txt")), mutates=True, branches=("img_mlp", "txt_mlp")
    ),
    "comfy.ldm.flux.layers.SingleStreamBlock": Family(X, mutates=True),
    "comfy.ldm.hunyuan_video.model.TokenRefinerBlock": Family(X, branches=("mlp",)),
    # SD3, AuraFlow and Qwen return the text first. SD3's last block returns None for it.
    "comfy.ldm.modules.diffusionmodules.mmdit.JointBlock": Family(
        ((0, "context"), (1, "x")), branches=("context_block.mlp", "x_block.mlp")
    ),
    "comfy.ldm.aura.mmdit.MMDiTBlock": Family(((0, "c"), (1, "x")), branches=("attn", "mlpC", "mlpX")),
    "comfy.ldm.aura.mmdit.DiTBlock": Family(((0, "cx"),), branches=("attn", "mlp")),
    "comfy.ldm.qwen_image.model.QwenImageTransformerBlock": Family(TEXT_AND_HIDDEN, branches=JOINT_BRANCHES),
    "comfy.ldm.lens.model.LensTransformerBlock": Family(TEXT_AND_HIDDEN, branches=JOINT_BRANCHES),
    "comfy.ldm.joyimage.model.JoyImageTransformerBlock": Family(HIDDEN_AND_TEXT, branches=JOINT_BRANCHES),
    # Mochi's last block returns the text as it came.
    "comfy.ldm.genmo.joint_model.asymm_models_joint.AsymmetricJointBlock": Family(
        ((0, "x"), (2, "y")), branches=("attn", "mlp_x", "mlp_y")
    ),
    "comfy.ldm.hidream.model.HiDreamImageTransformerBlock": Family(
        ((0, "image_tokens"), (2, "text_tokens")), branches=("attn1", "ff_i", "ff_t")
    ),
    "comfy.ldm.hidream.model.HiDreamImageSingleTransformerBlock": Family(
        ((0, "image_tokens"),), branches=("attn1", "ff_i")
    ),
    # The second half adds to a projection of the input and a skip connection, which stays fresh.
    "comfy.ldm.hydit.models.HunYuanDiTBlock": Family(X, base="norm1", branches=("attn1", "attn2", "mlp")),
    "comfy.ldm.hunyuan3dv2_1.hunyuandit.HunYuanDiTBlock": Family(
        HIDDEN, base="norm1", branches=("attn1", "attn2", "mlp", "moe")
    ),
    "comfy.ldm.audio.dit.TransformerBlock": Family(X, branches=("self_attn", "cross_attn", "ff")),
    "comfy.ldm.pixart.pixartms.PixArtMSBlock": Family(X, branches=("attn", "cross_attn", "mlp")),
    "comfy.ldm.lightricks.model.BasicTransformerBlock": Family(X, mutates=True, branches=("attn1", "attn2", "ff")),
    # Picture and sound are one argument.
    "comfy.ldm.lightricks.av_model.BasicAVTransformerBlock": Family(
        ((0, "x", 0), (0, "x", 1)), mutates=True, branches=LTX_BRANCHES
    ),
    # The batch is dimension 3.
    "comfy.ldm.cosmos.blocks.GeneralDITTransformerBlock": Family(X, branches=("blocks.*.block",)),
    "comfy.ldm.cosmos.predict2.Block": Family(((0, "x_B_T_H_W_D"),), branches=("self_attn", "cross_attn", "mlp")),
    "comfy.ldm.lumina.model.JointTransformerBlock": Family(X, branches=("attention", "feed_forward")),
    "comfy.ldm.omnigen.omnigen2.OmniGen2TransformerBlock": Family(HIDDEN, branches=("attn", "feed_forward")),
    "comfy.ldm.ace.attention.LinearTransformerBlock": Family(HIDDEN, branches=("attn", "cross_attn", "ff")),
    "comfy.ldm.wan.model.WanAttentionBlock": Family(X, branches=SELF_CROSS_FFN),
    "comfy.ldm.wan.model.WanAttentionBlockAudio": Family(X, branches=SELF_CROSS_FFN),
    # The first of its two outputs is a projection of the second.
    "comfy.ldm.wan.model.VaceWanAttentionBlock": Family(
        ((0, "c"),), base="norm1", after="after_proj", branches=SELF_CROSS_FFN
    ),
    # The pose's branch of Wan-Animate-2 goes through the same blocks by another method, and is computed.
    "comfy.ldm.wan.model_animate2.WanAnimate2Block": Family(X, branches=("cross_attn", "ffn"), method="forward_gen"),
    "comfy.ldm.cogvideo.model.CogVideoXBlock": Family(HIDDEN_AND_TEXT),
    "comfy.ldm.ernie.model.ErnieImageSharedAdaLNBlock": Family(X, branches=("self_attention", "mlp")),
    "comfy.ldm.ideogram4.model.Ideogram4TransformerBlock": Family(X, branches=("attention", "feed_forward")),
    # Text first; then the picture, which looks at it.
    "comfy.ldm.kandinsky5.model.TransformerEncoderBlock": Family(X, branches=("self_attention", "feed_forward")),
    "comfy.ldm.kandinsky5.model.TransformerDecoderBlock": Family(
        ((0, "visual_embed"),), branches=("self_attention", "cross_attention", "feed_forward")
    ),
    "comfy.ldm.krea2.model.SingleStreamBlock": Family(X, branches=("attn", "mlp")),
    "comfy.ldm.minimax.model.DiTBlock": Family(X, mutates=True, branches=("attn", "mlp")),
    "comfy.ldm.minimax_music.dit.TransformerBlock": Family(X, branches=("self_attn", "ff")),
    "comfy.ldm.pixeldit.model.MMDiTBlockT2I": Family(((0, "x"), (1, "y")), branches=("attn", "mlp_x", "mlp_y")),
    "comfy.ldm.pixeldit.modules.PiTBlock": Family(X, branches=("attn", "mlp")),
    "comfy.ldm.triposplat.model.UnifiedTransformerBlock": Family(X, branches=("attn", "mlp")),
    "comfy.ldm.boogu.model.BooguDoubleStreamBlock": Family(
        ((0, "img_hidden_states"), (1, "instruct_hidden_states")),
        branches=("img_instruct_attn", "img_self_attn", "img_feed_forward", "instruct_feed_forward"),
    ),
    # The first block's modulation is kept for the final layer, so that no block is left out as a whole.
    "comfy.ldm.seedvr.model.NaMMSRTransformerBlock": Family((), branches=("attn", "mlp.vid", "mlp.txt", "mlp.all")),
    # Of the voxels that a structure is made of; its sparse blocks hand on no tensors and are computed.
    "comfy.ldm.trellis2.model.ModulatedTransformerCrossBlock": Family(X, branches=("self_attn", "cross_attn", "mlp")),
    "comfy.ldm.ace.ace_step15.AceStepDiTLayer": Family(HIDDEN, branches=("self_attn", "cross_attn", "mlp")),
    # HiDream-O1: the block returns the keys and values that the network keeps for its next call, too.
    "comfy.text_encoders.llama.TransformerBlock": Family(X, child="mlp", idle=("post_attention_layernorm",)),
    "comfy.ldm.cascade.common.ResBlock": Family(X, branches=("channelwise",)),
    "comfy.ldm.cascade.common.AttnBlock": Family(X, branches=("attention",)),
}

# Pieces of a network whose inputs do not depend on the timestep: computed once for each condition.
INVARIANTS: dict[str, tuple[str, ...]] = {
    "comfy.ldm.lumina.model.NextDiT": ("context_refiner.*",),
    "comfy.ldm.omnigen.omnigen2.OmniGen2Transformer2DModel": ("context_refiner.*",),
    "comfy.ldm.ace.model.ACEStepTransformer2DModel": ("lyric_encoder",),
    "comfy.ldm.modules.diffusionmodules.mmdit.MMDiT": ("context_processor",),
    "comfy.ldm.wan.model.WanModel": ("text_embedding", "img_emb"),
    "comfy.ldm.wan.model_wandancer.WanDancerModel": ("music_encoder.*",),
    "comfy.ldm.krea2.model.SingleStreamDiT": ("txtfusion",),
    "comfy.ldm.triposplat.model.LatentSeqMMFlowModel": ("context_repo_layers.*", "context_refiner.*"),
    "comfy.ldm.boogu.model.BooguTransformer2DModel": ("context_refiner.*",),
    "comfy.ldm.ace.ace_step15.AceStepConditionGenerationModel": ("encoder", "detokenizer"),
    "comfy.ldm.pixeldit.pid.PidNet": ("lq_proj",),
}

# What the host's options may carry that changes a piece's attention, and that may follow the step.
ATTENTION_OPTIONS = ("patches", "patches_replace", "optimized_attention_override")


def class_name(cls: type) -> str:
    """The key of a class in the tables: classes of different families share their short names."""
    return f"{cls.__module__}.{cls.__qualname__}"


def uncompiled(module: torch.nn.Module) -> torch.nn.Module:
    """The module that torch.compile wrapped, or the module itself."""
    return getattr(module, "_orig_mod", module)


def family_of(block: torch.nn.Module, families: Mapping[str, Family] | None = None) -> Family | None:
    """The table's row for a block, or None when it has none."""
    return (FAMILIES if families is None else families).get(class_name(type(uncompiled(block))))


def invariants_of(network: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The network's pieces that do not depend on the timestep, by path; subclasses share their parent's row."""
    rows = (INVARIANTS.get(class_name(cls), ()) for cls in type(uncompiled(network)).__mro__)
    return dict(matching(network, tuple(path for row in rows for path in row)))


def matching(root: torch.nn.Module, paths: tuple[str, ...]) -> Iterator[tuple[str, torch.nn.Module]]:
    """The modules below `root` that one of `paths` names, with their own paths."""
    wanted = [path.split(".") for path in paths]
    if wanted:
        for path, module in modules_of(root):
            if any(_fits(path.split("."), pattern) for pattern in wanted):
                yield path, module


def _fits(path: list[str], pattern: list[str]) -> bool:
    return len(path) == len(pattern) and all(p in ("*", part) for part, p in zip(path, pattern, strict=True))
