"""The shared workflows as data: nodes with their places and widgets, and the links between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HUB = "https://huggingface.co/"
WAN = HUB + "Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files/"


@dataclass(frozen=True)
class Node:
    """A node: its type, its corner on the canvas, its widgets' values, a title and the models that it loads."""

    type: str
    place: tuple[int, int]
    widgets: dict[str, Any] = field(default_factory=dict)
    title: str | None = None
    size: tuple[int, int] | None = None
    models: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Graph:
    """A workflow: nodes by name, and links written `node.output -> node.input`."""

    nodes: dict[str, Node]
    links: tuple[str, ...]


def note(text: str, place: tuple[int, int], size: tuple[int, int] = (360, 260)) -> Node:
    """A note on the canvas."""
    return Node("MarkdownNote", place, {"": text}, "About this workflow", size)


def checkpoint(name: str, url: str, place: tuple[int, int] = (40, 200)) -> Node:
    """A checkpoint loader with the address of its file."""
    return Node(
        "CheckpointLoaderSimple", place, {"ckpt_name": name}, size=(315, 98), models=((name, url, "checkpoints"),)
    )


def text(prompt: str, place: tuple[int, int], title: str) -> Node:
    """A prompt."""
    return Node("CLIPTextEncode", place, {"text": prompt}, title, (360, 130))


SDXL = checkpoint(
    "sd_xl_base_1.0.safetensors",
    HUB + "stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
)
FLUX = checkpoint("flux1-dev-fp8.safetensors", HUB + "Comfy-Org/flux1-dev/resolve/main/flux1-dev-fp8.safetensors")
SAMPLER = {
    "seed": 1, "control_after_generate": "fixed", "steps": 30, "cfg": 7.0, "sampler_name": "dpmpp_2m",
    "scheduler": "karras",
}  # fmt: skip
PICTURE = {"width": 1024, "height": 1024, "batch_size": 1}
SDXL_NODES = {
    "checkpoint": SDXL,
    "prompt": text("a lighthouse on a cliff at sunset, detailed oil painting", (400, 60), "Prompt"),
    "negative": text("blurry, text, watermark", (400, 240), "Negative prompt"),
    "size": Node("EmptyLatentImage", (400, 420), PICTURE),
}
SDXL_LINKS = ("checkpoint.CLIP -> prompt.clip", "checkpoint.CLIP -> negative.clip")


def sampler_links(name: str) -> tuple[str, ...]:
    """What every sampler node of the SDXL workflows is connected to."""
    return (
        f"checkpoint.MODEL -> {name}.model", f"prompt.CONDITIONING -> {name}.positive",
        f"negative.CONDITIONING -> {name}.negative", f"size.LATENT -> {name}.latent_image",
    )  # fmt: skip


QUICK_START = Graph(
    {
        **SDXL_NODES,
        "sampler": Node("FRDiffKSampler", (820, 60), {**SAMPLER, "speedup": 2.0}, size=(340, 430)),
        "decode": Node("VAEDecode", (1210, 60)),
        "save": Node("SaveImage", (1210, 160), {"filename_prefix": "FRDiff"}, size=(340, 330)),
        "report": Node("FRDiffReport", (1590, 60), size=(340, 240)),
        "plot": Node("PreviewImage", (1590, 350), title="Steps of the last run", size=(340, 230)),
        "note": note(
            "**FRDiff KSampler** takes the place of KSampler: same inputs, one dial more.\n\n"
            "- `speedup` is how many times faster the network should run. 1.0 is off and gives exactly KSampler's "
            "picture.\n"
            "- The cells under the dial are the steps: filled ones are computed, hollow ones are skipped. They move "
            "with the dial, and fill while it runs.\n"
            "- More steps leave more to skip. Models for 4 to 8 steps gain little.\n\n"
            "To change a workflow of your own, replace its KSampler by FRDiff KSampler.",
            (40, 340), (320, 300),
        ),
    },
    (
        *SDXL_LINKS, *sampler_links("sampler"), "sampler.LATENT -> decode.samples", "checkpoint.VAE -> decode.vae",
        "decode.IMAGE -> save.images", "sampler.report -> report.report", "report.plot -> plot.images",
    ),
)  # fmt: skip

ANY_GRAPH = Graph(
    {
        "checkpoint": FLUX,
        "prompt": text("a lighthouse on a cliff at sunset, detailed oil painting", (400, 60), "Prompt"),
        "guidance": Node("FluxGuidance", (400, 240), {"guidance": 3.5}),
        "size": Node("EmptySD3LatentImage", (400, 350), PICTURE),
        "patcher": Node("FRDiffModelPatcher", (400, 510), {"speedup": 2.0}, size=(360, 180)),
        "guider": Node("BasicGuider", (820, 60)),
        "noise": Node("RandomNoise", (820, 150), {"noise_seed": 1, "control_after_generate": "fixed"}),
        "algorithm": Node("KSamplerSelect", (820, 280), {"sampler_name": "euler"}),
        "sigmas": Node("BasicScheduler", (820, 390), {"scheduler": "simple", "steps": 28, "denoise": 1.0}),
        "sampler": Node("SamplerCustomAdvanced", (1180, 60)),
        "decode": Node("VAEDecode", (1180, 230)),
        "save": Node("SaveImage", (1480, 60), {"filename_prefix": "FRDiff"}, size=(360, 400)),
        "note": note(
            "**FRDiff Model Patcher** goes between a model and whatever samples with it: here SamplerCustomAdvanced, "
            "but KSampler and the samplers of other packs as well.\n\n"
            "- The steps on the patcher are those of the sampler that it leads to.\n"
            "- Put LoRA loaders and other model nodes before or after it; of two patchers the last wins.",
            (40, 340), (320, 260),
        ),
    },
    (
        "checkpoint.CLIP -> prompt.clip", "prompt.CONDITIONING -> guidance.conditioning",
        "checkpoint.MODEL -> patcher.model", "patcher.MODEL -> guider.model", "patcher.MODEL -> sigmas.model",
        "guidance.CONDITIONING -> guider.conditioning", "noise.NOISE -> sampler.noise",
        "guider.GUIDER -> sampler.guider", "algorithm.SAMPLER -> sampler.sampler", "sigmas.SIGMAS -> sampler.sigmas",
        "size.LATENT -> sampler.latent_image", "sampler.output -> decode.samples", "checkpoint.VAE -> decode.vae",
        "decode.IMAGE -> save.images",
    ),
)  # fmt: skip

COMPARE = Graph(
    {
        **SDXL_NODES,
        "plain": Node("FRDiffKSampler", (820, 60), {**SAMPLER, "speedup": 1.0}, "A: off, as KSampler", (340, 430)),
        "fast": Node("FRDiffKSampler", (820, 550), {**SAMPLER, "speedup": 2.0}, "B: twice as fast", (340, 430)),
        "decode_a": Node("VAEDecode", (1210, 60)),
        "decode_b": Node("VAEDecode", (1210, 550)),
        "show_a": Node("PreviewImage", (1210, 150), title="A: off", size=(300, 250)),
        "show_b": Node("PreviewImage", (1210, 640), title="B: FRDiff", size=(300, 250)),
        "compare": Node("FRDiffCompare", (1560, 60), {"amplify": 4.0}, size=(480, 560)),
        "badge": Node("PreviewImage", (1560, 680), title="Badge to share", size=(480, 300)),
        "note": note(
            "The same seed twice: **A** with the dial at 1.0, which is off and gives exactly KSampler's picture, **B** "
            "with FRDiff at 2.0. **FRDiff Compare** says how like they are: drag the slider on it.\n\n"
            "- PSNR above 30 dB and SSIM above 0.95 are hard to tell apart by eye.\n"
            "- *difference* shows where they differ: black is equal, and the rest is drawn four times brighter.\n"
            "- Keep the seeds of A and B the same. The first run also loads the model: for the seconds, change both "
            "seeds and run it again.",
            (40, 340), (320, 330),
        ),
    },
    (
        *SDXL_LINKS, *sampler_links("plain"), *sampler_links("fast"), "plain.LATENT -> decode_a.samples",
        "fast.LATENT -> decode_b.samples", "checkpoint.VAE -> decode_a.vae", "checkpoint.VAE -> decode_b.vae",
        "decode_a.IMAGE -> show_a.images", "decode_b.IMAGE -> show_b.images", "decode_a.IMAGE -> compare.image_a",
        "decode_b.IMAGE -> compare.image_b", "plain.LATENT -> compare.latent_a", "fast.LATENT -> compare.latent_b",
        "plain.report -> compare.report_a", "fast.report -> compare.report_b", "compare.badge -> badge.images",
    ),
)  # fmt: skip

SWEEP = Graph(
    {
        **SDXL_NODES,
        "schedule": Node("FRDiffSchedule", (400, 570), {"preset": "paper M=2"}, size=(360, 260)),
        "sweep": Node("FRDiffSweep", (820, 60), {**SAMPLER, "dials": "1.5, 2, 3", "repeats": 3}, size=(360, 620)),
        "grid": Node("PreviewImage", (1230, 60), title="Pictures", size=(420, 380)),
        "plot": Node("PreviewImage", (1230, 490), title="Speed and error", size=(420, 300)),
        "note": note(
            "**FRDiff Sweep** samples the same picture at several dials and schedules, and as often with fewer plain "
            "steps that compute as much, three times each. All times are measured on your machine.\n\n"
            "- In the plot, lower and further left is better. If the triangles lie below the dots, take fewer steps "
            "instead.\n"
            "- The first run is the plain one. It takes one run more to warm up.\n"
            "- Cancel whenever you like: what is done stays on the node.",
            (40, 340), (320, 320),
        ),
    },
    (
        *SDXL_LINKS, *sampler_links("sweep"), "checkpoint.VAE -> sweep.vae", "schedule.schedule -> sweep.schedule",
        "sweep.grid -> grid.images", "sweep.plot -> plot.images",
    ),
)  # fmt: skip

VIDEO_SAMPLER = {"steps": 20, "cfg": 3.5, "sampler_name": "euler", "scheduler": "simple", "speedup": 2.0}


def wan_model(noise: str, place: tuple[int, int]) -> Node:
    """One of the two networks of Wan 2.2."""
    name = f"wan2.2_t2v_{noise}_noise_14B_fp8_scaled.safetensors"
    models = ((name, f"{WAN}diffusion_models/{name}", "diffusion_models"),)
    return Node("UNETLoader", place, {"unet_name": name, "weight_dtype": "default"}, size=(360, 82), models=models)


VIDEO = Graph(
    {
        "high": wan_model("high", (40, 60)),
        "low": wan_model("low", (40, 190)),
        "clip": Node(
            "CLIPLoader", (40, 320), {"clip_name": "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "type": "wan"},
            size=(360, 106),
            models=((
                "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
                HUB + "Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/text_encoders/"
                "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "text_encoders",
            ),),
        ),
        "vae": Node(
            "VAELoader", (40, 470), {"vae_name": "wan_2.1_vae.safetensors"}, size=(360, 58),
            models=(("wan_2.1_vae.safetensors", f"{WAN}vae/wan_2.1_vae.safetensors", "vae"),),
        ),
        "prompt": text("a sailing boat passes a lighthouse, waves, sunset, slow camera", (440, 60), "Prompt"),
        "negative": text("blurry, static, overexposed, subtitles, low quality", (440, 240), "Negative prompt"),
        "size": Node(
            "EmptyHunyuanLatentVideo", (440, 420), {"width": 640, "height": 640, "length": 81, "batch_size": 1}
        ),
        "shift_high": Node("ModelSamplingSD3", (440, 600), {"shift": 8.0}),
        "shift_low": Node("ModelSamplingSD3", (440, 700), {"shift": 8.0}),
        "first": Node(
            "FRDiffKSamplerAdvanced", (850, 60), {
                **VIDEO_SAMPLER, "add_noise": "enable", "noise_seed": 1, "control_after_generate": "fixed",
                "start_at_step": 0, "end_at_step": 10, "return_with_leftover_noise": "enable",
            }, "FRDiff: steps with much noise", (340, 500),
        ),
        "second": Node(
            "FRDiffKSamplerAdvanced", (1230, 60), {
                **VIDEO_SAMPLER, "add_noise": "disable", "noise_seed": 1, "control_after_generate": "fixed",
                "start_at_step": 10, "end_at_step": 10000, "return_with_leftover_noise": "disable",
            }, "FRDiff: steps with little noise", (340, 500),
        ),
        "decode": Node("VAEDecode", (1610, 60)),
        "video": Node("CreateVideo", (1610, 160), {"fps": 16.0}),
        "save": Node("SaveVideo", (1610, 290), {"filename_prefix": "video/FRDiff"}, size=(340, 300)),
        "note": note(
            "**Wan 2.2** has one network for the steps with much noise and one for the rest. Each **FRDiff KSampler "
            "(Advanced)** plans only the steps that it runs, and has its own dial.\n\n"
            "- The first steps decide on motion: lower the first dial when motion suffers.\n"
            "- Do not combine it with LoRAs for 4 steps: there is nothing left to skip.",
            (850, 610), (340, 250),
        ),
    },
    (
        "clip.CLIP -> prompt.clip", "clip.CLIP -> negative.clip", "high.MODEL -> shift_high.model",
        "low.MODEL -> shift_low.model", "shift_high.MODEL -> first.model", "shift_low.MODEL -> second.model",
        "prompt.CONDITIONING -> first.positive", "negative.CONDITIONING -> first.negative",
        "prompt.CONDITIONING -> second.positive", "negative.CONDITIONING -> second.negative",
        "size.LATENT -> first.latent_image", "first.LATENT -> second.latent_image",
        "second.LATENT -> decode.samples", "vae.VAE -> decode.vae", "decode.IMAGE -> video.images",
        "video.VIDEO -> save.video",
    ),
)  # fmt: skip

WORKFLOWS = {
    "FRDiff quick start": QUICK_START,
    "FRDiff in any graph": ANY_GRAPH,
    "FRDiff A-B compare": COMPARE,
    "FRDiff speed sweep": SWEEP,
    "FRDiff video (Wan)": VIDEO,
}
