"""Networks of true size with random weights: they say nothing about quality and everything about time and memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import median
from typing import Any

import torch
from bench_methods import EVERY_STEP, PLAIN, Case, chosen, table
from bench_overhead import figures, medians, round_ratios, typical_ms
from bench_timing import Timed, counted_calls, interleaved, relative_time
from host import SetupError

MEGABYTE = 1e6


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


def measure(host: Any, presets: Mapping[str, Any], arguments: Any, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row per step count, sampler and method."""
    shape = SHAPES[arguments.shape]
    methods = chosen(table(list(presets)), [EVERY_STEP, *arguments.methods])
    model = build(shape)
    positive, negative = (conditioning(shape, seed) for seed in (1, 2))
    latent = torch.zeros(arguments.batch, *shape.latent[1:])
    rows: list[dict[str, Any]] = []
    for steps in arguments.steps:
        for sampler in arguments.samplers:
            case = Case(host, presets, model, negative, latent, steps, sampler, shape.cfg, shape.scheduler)
            runs = {name: method.make(case) for name, method in methods.items()}
            network = model.model.diffusion_model
            with counted_calls(network, lambda runs=runs: runs[PLAIN](0, positive)) as counter:
                interleaved(runs, [positive], 1, counter)  # to warm up
                rounds = interleaved(runs, [positive], arguments.rounds, counter)
            found = shape_rows(rounds, arguments.batch)
            rows += [{"model": arguments.shape, "steps": steps, "sampler": sampler, **row} for row in found]
            say(f"{arguments.shape} {steps} {sampler}: {arguments.rounds} rounds")
    return rows


def build(shape: Shape, seed: int = 0) -> Any:
    """A MODEL of this shape on the host's device, with random weights that keep activations finite."""
    import comfy.model_management
    import comfy.model_patcher

    device = comfy.model_management.get_torch_device()
    if device.type == "cpu" and shape.dtype is torch.bfloat16:
        raise SetupError("Networks of true size need a GPU. Try --shape tiny here.")
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


def shape_rows(rounds: Sequence[Mapping[str, Timed]], batch: int) -> list[dict[str, Any]]:
    """Time and memory of every method; the engine's own limit where there is a report."""
    return [_row(rounds, name, batch) for name in rounds[0]]


def _row(rounds: Sequence[Mapping[str, Timed]], name: str, batch: int) -> dict[str, Any]:
    relative = relative_time(rounds, name)
    return {
        "method": name,
        "seconds": median(one[name].seconds for one in rounds),
        "seconds_per_picture": median(one[name].seconds for one in rounds) / batch,
        "relative_time": relative,
        "speedup": 1 / relative,
        "network_calls": median(one[name].calls for one in rounds),
        "peak_mb": _peak_mb(rounds, name),
        "peak_mb_above_plain": _above(_peak_mb(rounds, name), _peak_mb(rounds, PLAIN)),
        **_limits(rounds, name),
    }


LIMITS = ("overhead", "counted", "allowed", "share")


def _limits(rounds: Sequence[Mapping[str, Timed]], name: str) -> dict[str, float | None]:
    if rounds[0][name].report is None:
        return dict.fromkeys(("full_ms", "partial_ms", *LIMITS))
    found = figures(medians([round_ratios(one, name) for one in rounds]))
    return {
        "full_ms": median(typical_ms(one[EVERY_STEP].report, "full") for one in rounds),
        "partial_ms": median(typical_ms(one[name].report, "partial") for one in rounds),
        **{limit: found[limit] for limit in LIMITS},
    }


def _peak_mb(rounds: Sequence[Mapping[str, Timed]], name: str) -> float | None:
    peaks = [one[name].peak_bytes for one in rounds]
    known = [peak for peak in peaks if peak is not None]
    return max(known) / MEGABYTE if known else None


def _above(value: float | None, plain: float | None) -> float | None:
    return None if value is None or plain is None else value - plain


COLUMNS = {
    "speedup": "{:.2f}x",
    "overhead": "{:.2%}",
    "allowed": "{:.2f}x",
    "share": "{:.3f}",
    "full_ms": "{:.1f}",
    "partial_ms": "{:.1f}",
    "network_calls": "{:g}",
    "peak_mb_above_plain": "{:.0f}",
}


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The printed table."""
    head = f"{'run':<22} {'method':<20} {'s/picture':>10}" + "".join(f"{name:>20}" for name in COLUMNS)
    return [head, *(_line(row) for row in rows)]


def _line(row: Mapping[str, Any]) -> str:
    run = f"{row['model']} {row['steps']} {row['sampler']}"
    cells = ("-" if row[name] is None else layout.format(row[name]) for name, layout in COLUMNS.items())
    figures = "".join(f"{cell:>20}" for cell in cells)
    return f"{run:<22} {row['method']:<20} {row['seconds_per_picture']:10.3f}{figures}"
