"""The loader node, and reading a demo model's file."""

import json
from pathlib import Path
from typing import NamedTuple

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.utils
from comfy_api.latest import io

from .clip_vae import ClipCodec, DemoClipVAE
from .networks import build_model, latent_format
from .rough import build_rough
from .text import build_clip
from .vae import DemoVAE, PatchCodec

MODELS = Path(__file__).parent / "models"
NAMES = ["unet", "dit", "rough", "video"]
CODECS = {"unet": (PatchCodec, DemoVAE), "dit": (PatchCodec, DemoVAE), "video": (ClipCodec, DemoClipVAE)}
# The rough model has no file of its own: it takes words from this one.
WORDS_OF_ROUGH = "unet"


class DemoModel(NamedTuple):
    """What the host's nodes take: MODEL, CLIP and VAE."""

    model: comfy.model_patcher.ModelPatcher
    clip: object
    vae: comfy.sd.VAE


class FRDiffDemoModelLoader(io.ComfyNode):
    """Loads one of the demo models."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FRDiffDemoModelLoader",
            display_name="Load FRDiff Demo Model",
            category="FRDiff/demo",
            description="A small emoji model for trying nodes without a large download. Use 128 x 128 pictures, "
            "and with the video model 80 x 80 and 17 frames.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=NAMES,
                    tooltip="unet: like SD 1.5. dit: like Flux. rough: untrained, 32 x 32, for tests. video: like Wan.",
                )
            ],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        return io.NodeOutput(*(load_rough() if model == "rough" else load_demo_model(path_of(model))))


def path_of(name: str) -> Path:
    """The file of a trained demo model."""
    return MODELS / f"demo_{name}.safetensors"


def load_rough() -> DemoModel:
    """The rough model, whose prompts are in the words of a trained one."""
    config, tensors = read_file(path_of(WORDS_OF_ROUGH))
    clip = build_clip(config["text"], tensors["text"])
    model, vae = build_rough(clip, config["text"]["words"])
    return DemoModel(patcher(model), clip, vae)


def load_demo_model(path: Path) -> DemoModel:
    """Builds the model, the text encoder and the VAE that one file holds."""
    config, tensors = read_file(path)
    family = config["family"]
    build_codec, build_vae = CODECS[family]
    codec = build_codec(**config["vae"])
    codec.load_state_dict(tensors["vae"])
    model = build_model(family, config["network"], latent_format(family, *codec.rgb_factors()))
    # The host's own loading knows the names that its layers had in earlier versions.
    model.load_model_weights(tensors["network"])
    return DemoModel(patcher(model), build_clip(config["text"], tensors["text"]), build_vae(codec))


def read_file(path: Path) -> tuple[dict, dict[str, dict]]:
    """The config, and the float32 tensors by part: network, text, vae."""
    if not path.exists():
        raise FileNotFoundError(f"The demo model {path.name} is missing. Fetch the pack again, or train it.")
    parts = {"network": {}, "text": {}, "vae": {}}
    tensors, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor.float()
    return json.loads(metadata["config"]), parts


def patcher(model) -> comfy.model_patcher.ModelPatcher:
    """The model as the host's MODEL, on the host's devices."""
    load = comfy.model_management.get_torch_device()
    offload = comfy.model_management.unet_offload_device()
    model.to(offload)
    return comfy.model_patcher.ModelPatcher(model, load_device=load, offload_device=offload)
