"""A MODEL's network as schedule files know it, whether or not it is loaded and its LoRAs are in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ...frdiff.blocks.network_id import NetworkId, network_id_of

PREFIX = "diffusion_model."
COMPILED = "_orig_mod."


def network_id_of_model(model: Any) -> NetworkId:
    """Describe a MODEL's network by its own weights, and by the patches that this MODEL puts on them.

    The host writes patches into the weights of a network that several MODELs share, and keeps the weights' own values.
    """
    found = model.get_model_object("diffusion_model")
    network = getattr(found, "_orig_mod", found)
    known = {name.replace(COMPILED, ""): each for name, each in model.get_key_patches(PREFIX).items()}
    listed = [known.get(PREFIX + name, [(weight,)]) for name, weight in network.named_parameters()]
    own, patches = [weight[0] for weight, *_ in listed], [part for _, *p in listed for part in _parts(p)]
    return network_id_of(network, own, patches)


def model_name(model: Any) -> str:
    """What kind of model a MODEL is, as people call it: the host's name of its family, or its network's class."""
    config = getattr(model.model, "model_config", None)
    family = type(config)
    if family.__module__ == "comfy.supported_models":
        return family.__name__
    network = model.get_model_object("diffusion_model")
    return type(getattr(network, "_orig_mod", network)).__name__


def _parts(patches: Any) -> Iterator[Any]:
    """The numbers and tensors of what the host keeps of patches: tuples and lists, or adapters with weights."""
    if patches is None or isinstance(patches, int | float | str | torch.Tensor):
        yield patches
    elif isinstance(patches, list | tuple):
        for each in patches:
            yield from _parts(each)
    elif hasattr(patches, "weights"):
        yield from _parts(patches.weights)
