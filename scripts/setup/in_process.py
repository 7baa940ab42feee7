"""ComfyUI, the pack and the demo models in this process: for the benchmark and for the tests."""

from __future__ import annotations

import asyncio
import copy
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from . import PACKS, ScriptError


def load_comfyui(device: str = "auto", user_nodes: bool = False) -> ModuleType:
    """ComfyUI's `nodes` module with the pack, the demo models and the core's own caching nodes loaded.

    `device` is auto, cpu or cuda; `user_nodes` also loads all of the core's and the user's own nodes.
    Raises ScriptError when there is no such device or something does not load.
    """
    import comfy.cli_args
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ScriptError("torch finds no CUDA device here. Leave out --device, or choose cpu.")
    # It decides the device when its model management is imported.
    comfy.cli_args.args.cpu = device == "cpu" or not torch.cuda.is_available()
    import comfy.utils

    if user_nodes:
        # `nodes` puts a folder on the path in which there is another module utils.
        import utils.extra_config  # noqa: F401

    import nodes

    comfy.utils.PROGRESS_BAR_ENABLED = False
    if user_nodes:
        _load_user_nodes(nodes)
    core_cache = Path(str(nodes.__file__)).parent / "comfy_extras" / "nodes_easycache.py"
    for name, path in {**PACKS, "comfy_extras": core_cache}.items():
        if not asyncio.run(nodes.load_custom_node(str(path), module_parent=name)):
            raise ScriptError(f"{path} did not load; ComfyUI's own message is above.")
    return nodes


def _load_user_nodes(nodes: Any) -> None:
    """What ComfyUI's main.py loads; before the pack, of which the user may have another copy."""
    import folder_paths
    import server
    import utils.extra_config

    paths = Path(folder_paths.base_path) / "extra_model_paths.yaml"
    if paths.is_file():
        utils.extra_config.load_extra_path_config(str(paths))
    # Many packs add routes to it when they are imported; it does not listen.
    server.PromptServer(asyncio.new_event_loop())
    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=False))


def pack_module(host_nodes: Any, name: str) -> ModuleType:
    """A module of the pack as ComfyUI loaded it, e.g. `frdiff.errors`; an empty name gives the pack itself.

    ComfyUI gives the pack a name of its own choice, so scripts that use its modules (`from ...frdiff.errors import`)
    are loaded as modules of the pack as well: `pack_module(host_nodes, "scripts.bench.study_runs")`.
    """
    package = host_nodes.NODE_CLASS_MAPPINGS["FRDiffKSampler"].__module__.rsplit(".nodes.", 1)[0]
    return importlib.import_module(f"{package}.{name}") if name else sys.modules[package]


class DemoModel:
    """A demo model of ComfyUI's types, and what its prompts become."""

    def __init__(self, host_nodes: Any, name: str) -> None:
        self.host = host_nodes
        self.model, self.clip, self.vae = host_nodes.NODE_CLASS_MAPPINGS["FRDiffDemoModelLoader"].execute(name).result

    def encode(self, text: str) -> Any:
        """A prompt as ComfyUI's CONDITIONING."""
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))


def copied(base: Any) -> Any:
    """A copy of a BaseModel with weights of its own; the core's config of a model does not like to be copied."""
    return copy.deepcopy(base, {id(base.model_config): base.model_config})


def of_text_alone(video_model: Any) -> Any:
    """A video MODEL without the channels of given pictures, which the host's windows do not cut in every version."""
    import torch

    model, base = video_model.clone(), video_model.model
    model.model = copied(base)
    entry = model.model.diffusion_model.patch_embedding
    channels = base.latent_format.latent_channels
    entry.weight = torch.nn.Parameter(entry.weight[:, :channels].contiguous(), requires_grad=False)
    return model
