"""What users put between a model and a sampler: each composition takes a subject and returns another."""

import inspect

import torch
from subjects import extra_node, fill, node_class
from weights import again, blocks, compiled, in_type, low_memory, partly_loaded, stored_in, whole

UNET, DIT, VIDEO = "unet", "dit", "video"


def model_node(module, name, *inputs, **named):
    """A composition that puts a node of the host behind the model."""
    return lambda subject: subject.having(model=extra_node(module, name, subject.model, *inputs, **named))


def lora(subject, strength=1.0):
    """A random LoRA for a few attention layers."""
    import comfy.sd

    names = [n for n, _ in subject.network.named_modules() if n.endswith(("attn2.to_q", "img_attn.qkv", "self_attn.q"))]
    generator, tensors = torch.Generator().manual_seed(3), {}
    for name in names:
        rows, columns = subject.network.get_submodule(name).weight.shape
        tensors[f"diffusion_model.{name}.lora_down.weight"] = torch.randn(4, columns, generator=generator) * 0.1
        tensors[f"diffusion_model.{name}.lora_up.weight"] = torch.randn(rows, 4, generator=generator) * 0.1
    assert names
    return subject.having(model=comfy.sd.load_lora_for_models(subject.model, None, tensors, strength, strength)[0])


def partly_loaded_with_lora(subject):
    return partly_loaded(lora(again(subject)))


def attention_patch(subject):
    """What IPAdapter does: an addition to the output of each cross-attention."""
    model = subject.model.clone()
    model.set_model_attn2_output_patch(lambda n, options: n + 0.1 * torch.tanh(n))
    return subject.having(model=model)


def block_patch(subject):
    """A replaced DiT block, as region and style packs do it."""
    model = subject.model.clone()
    model.set_model_patch_replace(
        lambda args, extra: {"img": extra["original_block"](args)["img"] * 1.01}, "dit", "single_block", 1
    )
    return subject.having(model=model)


def image_prompt(subject):
    """What the later IPAdapters do: one cross-attention is replaced, and a second one added to it."""
    from comfy.ldm.modules.attention import optimized_attention

    tokens = torch.randn(1, 5, 1, generator=torch.Generator().manual_seed(7))

    def attend(q, k, v, options):
        seen = (tokens * k.mean(dim=1, keepdim=True)).expand(len(q), -1, -1)
        heads = options["n_heads"]
        return optimized_attention(q, k, v, heads) + 0.5 * optimized_attention(q, seen, seen, heads)

    model = subject.model.clone()
    model.set_model_attn2_replace(attend, "middle", 0)
    return subject.having(model=model)


def image_prompt_of_a_dit(subject):
    """What the IPAdapters for Flux do: each double block's picture attends to the image's tokens as well."""
    from comfy.ldm.modules.attention import optimized_attention

    width = subject.network.hidden_size
    tokens = torch.randn(1, 5, width, generator=torch.Generator().manual_seed(7))

    def attending(args, extra):
        out = extra["original_block"](args)
        seen = tokens.to(args["img"]).expand(len(args["img"]), -1, -1)
        return {**out, "img": out["img"] + 0.1 * optimized_attention(args["img"], seen, seen, 4)}

    model = subject.model.clone()
    for block in range(len(subject.network.double_blocks)):
        model.set_model_patch_replace(attending, "dit", "double_block", block)
    return subject.having(model=model)


def tiled(subject):
    """A wrapper that calls the network once for each half of the latent (one slot, the last pack wins)."""

    def halves(apply, call):
        parts = [
            apply(part, call["timestep"], **{k: v for k, v in call["c"].items() if k != "control"})
            for part in call["input"].chunk(2, dim=-1)
        ]
        return torch.cat(parts, dim=-1)

    model = subject.model.clone()
    model.set_model_unet_function_wrapper(halves)
    return subject.having(model=model)


def changed_conds(subject, **values):
    """The positive with more values in its options."""
    return subject.having(positive=[[tensor, {**options, **values}] for tensor, options in subject.positive])


def several_positives(subject):
    other = [[tensor * 0.9, options] for tensor, options in subject.positive]
    return subject.having(positive=[*subject.positive, *other])


def area(subject):
    """Half of the picture has a prompt of its own."""
    half = changed_conds(subject, area=(16, 8, 0, 8), strength=1.0).positive
    return subject.having(positive=[*subject.positive, *half])


def mask(subject):
    drawn = torch.zeros(1, 128, 128)
    drawn[..., 64:] = 1
    masked = changed_conds(subject, mask=drawn, mask_strength=1.0).positive
    return subject.having(positive=[*subject.positive, *masked])


def timestep_range(subject):
    """One prompt for the first 40 %, another for the rest."""
    first = changed_conds(subject, start_percent=0.0, end_percent=0.4).positive
    rest = [
        [tensor * 0.9, {**options, "start_percent": 0.4, "end_percent": 1.0}] for tensor, options in subject.positive
    ]
    return subject.having(positive=[*first, *rest])


def lora_schedule(subject):
    """A LoRA hook on the positive whose strength changes once."""
    import comfy.hooks

    tensors = {}
    for name, module in subject.network.named_modules():
        if name.endswith(("attn2.to_q", "img_attn.qkv", "self_attn.q")):
            tensors[f"diffusion_model.{name}.weight"] = ("diff", (torch.ones_like(module.weight) * 0.01,))
    hook = comfy.hooks.WeightHook(strength_model=1.0)
    hook.weights, hook.need_weight_init = tensors, False
    group = comfy.hooks.HookGroup()
    group.add(hook)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(strength=1.0))
    keyframes.add(comfy.hooks.HookKeyframe(strength=0.2, start_percent=0.5))
    group.set_keyframes_on_hooks(keyframes)
    return changed_conds(subject, hooks=group)


def inpainting(subject):
    """The left half is kept."""
    drawn = torch.zeros(1, 1, 128, 128)
    drawn[..., 64:] = 1
    kept = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(2))
    return subject.having(latent={"samples": kept, "noise_mask": drawn})


def context_windows(subject):
    """Windows of four of the frames, two of them shared with the next."""
    chosen = {
        "context_length": 4, "context_overlap": 2, "context_schedule": "standard_static", "context_stride": 1,
        "closed_loop": False, "fuse_method": "pyramid", "dim": 2,
    }  # fmt: skip
    execute = node_class("context_windows", "ContextWindowsManualNode").execute
    newer = {name: False for name, p in inspect.signature(execute).parameters.items() if p.default is p.empty}
    newer = {name: value for name, value in newer.items() if name != "model"}
    return subject.having(model=execute(subject.model, **{**newer, **chosen}).result[0])


def control_net(subject, end=1.0):
    """A random ControlNet of the model's own kind, on the positive and the negative."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ldm.flux.controlnet
    import comfy.ops

    unet = hasattr(subject.network, "out")
    config = {k: v for k, v in subject.model.model.model_config.unet_config.items() if k != "image_model"}
    if unet:
        config.pop("out_channels")
        made = comfy.cldm.cldm.ControlNet(hint_channels=3, **config)
    else:
        made = comfy.ldm.flux.controlnet.ControlNetFlux(operations=comfy.ops.disable_weight_init, **config)
    fill(made, scale=0.5)
    made.dtype = torch.float32
    control = comfy.controlnet.ControlNet(made, load_device=subject.model.load_device, extra_conds=["y"])
    hint = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(4))
    control.set_cond_hint(hint, 0.5, (0.0, end))
    both = {"control": control, "control_apply_to_uncond": False}
    return subject.having(
        positive=[[tensor, {**options, **both}] for tensor, options in subject.positive],
        negative=[[tensor, {**options, **both}] for tensor, options in subject.negative],
    )


def control_net_for_a_part(subject):
    return control_net(subject, end=0.5)


def merged(subject):
    """Half of the model, half of one with a LoRA."""
    return subject.having(
        model=extra_node("model_merging", "ModelMergeSimple", subject.model, lora(subject).model, 0.5)
    )


# Name: the models it is for, and how it is put behind a model.
COMPOSITIONS = {
    "LoRA": ((UNET, DIT), lora),
    "attention patch": ((UNET,), attention_patch),
    "block patch": ((DIT,), block_patch),
    "image prompt": ((UNET,), image_prompt),
    "image prompt of a DiT": ((DIT,), image_prompt_of_a_dit),
    "FreeU": ((UNET,), model_node("freelunch", "FreeU_V2", 1.3, 1.4, 0.9, 0.2)),
    "HyperTile": ((UNET,), model_node("hypertile", "HyperTile", 256, 2, 0, False)),
    "ToMe": ((UNET,), model_node("tomesd", "TomePatchModel", 0.3)),
    "Deep Shrink": (
        (UNET,),
        model_node("model_downscale", "PatchModelAddDownscale", 3, 2.0, 0.0, 0.35, True, "bicubic", "bicubic"),
    ),
    "PAG": ((UNET,), model_node("pag", "PerturbedAttentionGuidance", 3.0)),
    "SAG": ((UNET,), model_node("sag", "SelfAttentionGuidance", 0.5, 2.0)),
    "SLG": ((DIT,), model_node("slg", "SkipLayerGuidanceDiT", 3.0, 0.1, 0.8, "0", "1", 0.0)),
    "SLG simple": ((DIT,), model_node("slg", "SkipLayerGuidanceDiTSimple", 0.1, 0.8, "0", "1")),
    "RescaleCFG": ((UNET,), model_node("model_advanced", "RescaleCFG", 0.7)),
    "APG": ((UNET, DIT), model_node("apg", "APG", 1.0, 5.0, -0.5)),
    "TCFG": ((UNET,), model_node("tcfg", "TCFG")),
    "CFG-Zero*": ((UNET, DIT), model_node("cfg", "CFGZeroStar")),
    "FreSca": ((UNET,), model_node("fresca", "FreSca", 1.0, 1.25, 4)),
    "NAG": ((UNET, DIT), model_node("nag", "NAGuidance", 5.0, 0.5, 1.5)),
    "RoPE scaled": ((DIT,), model_node("rope", "ScaleROPE", 1.2, 0.0, 1.2, 0.0, 1.0, 0.0)),
    "several positives": ((UNET, DIT), several_positives),
    "area": ((UNET, DIT), area),
    "mask": ((UNET, DIT), mask),
    "timestep range": ((UNET, DIT), timestep_range),
    "LoRA schedule": ((UNET, DIT), lora_schedule),
    "context windows": ((VIDEO,), context_windows),
    "ControlNet": ((UNET, DIT), control_net),
    "ControlNet for a part": ((UNET, DIT), control_net_for_a_part),
    "EasyCache": ((UNET, DIT), model_node("easycache", "EasyCacheNode", 0.1, 0.15, 0.95, False)),
    "LazyCache": ((UNET, DIT), model_node("easycache", "LazyCacheNode", 0.1, 0.15, 0.95, False)),
    "tiled wrapper": ((UNET, DIT), tiled),
    "inpainting": ((UNET, DIT), inpainting),
    "bf16": ((UNET, DIT), in_type(torch.bfloat16)),
    "fp16": ((UNET, DIT), in_type(torch.float16)),
    "cast weights": ((UNET, DIT), stored_in(torch.float16)),
    "fp8 weights": ((UNET, DIT), stored_in(torch.float8_e4m3fn)),
    "low memory": ((UNET, DIT), low_memory),
    "partly loaded": ((UNET, DIT), partly_loaded_with_lora),
    "model merging": ((UNET, DIT), merged),
    "compiled whole": ((UNET, DIT), compiled(whole)),
    "compiled blocks": ((UNET, DIT), compiled(blocks)),
}
