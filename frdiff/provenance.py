"""Where a schedule file comes from: the network, the settings and the day."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

VERSION = "0.1.0"
# Enough of a network's numbers to tell a fine-tune from its base.
SAMPLED_PARAMETERS, SAMPLED_VALUES = 16, 64


@dataclass(frozen=True)
class Network:
    """A network as files know it: its class, and digests of its parameters' shapes and of some of their values."""

    cls: str
    architecture: str
    weights: str


@dataclass(frozen=True)
class Provenance:
    """What a schedule was calibrated with; `size` is the latent's shape without its batch, like `16x16x16`."""

    network: Network
    prediction: str
    sampler: str
    scheduler: str
    cfg: float
    size: str
    stages: int
    version: str
    date: str


def network_of(network: torch.nn.Module) -> Network:
    """Describe a network; parameters without numeric values at hand take part by their shape alone.

    Names do not take part: the host gives layers of the same network other names in other versions.
    """
    parameters = list(network.parameters())
    shapes = hashlib.sha256(repr(sorted(tuple(parameter.shape) for parameter in parameters)).encode())
    values = hashlib.sha256()
    for parameter in parameters[:: max(len(parameters) // SAMPLED_PARAMETERS, 1)]:
        if parameter.device.type != "meta" and parameter.dtype.is_floating_point:
            values.update(parameter.detach().reshape(-1)[:SAMPLED_VALUES].float().cpu().numpy().tobytes())
    cls = type(network)
    return Network(f"{cls.__module__}.{cls.__qualname__}", shapes.hexdigest()[:16], values.hexdigest()[:16])
