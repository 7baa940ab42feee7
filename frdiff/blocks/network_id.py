"""Which network this is: what tells it from others, and a fine-tune from its base."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

# Enough of a network's numbers to tell a fine-tune from its base.
SAMPLED_PARAMETERS, SAMPLED_VALUES = 16, 64


@dataclass(frozen=True)
class NetworkId:
    """A network as files know it: its class, and digests of its parameters' shapes and of some of their values.

    `patches` is a digest of what is put on the weights, such as LoRAs; empty where there are none.
    """

    cls: str
    architecture: str
    weights: str
    patches: str = ""


def network_id_of(
    network: torch.nn.Module, weights: Sequence[torch.Tensor] | None = None, patches: Iterable[Any] = ()
) -> NetworkId:
    """Describe a network; `weights` are its parameters' own values where patches are written into them.

    `weights` have the parameters' shapes. `patches` are the tensors, of any shape, numbers and texts of these. Names do
    not take part: the host gives layers of the same network other names in other versions.
    """
    parameters = list(network.parameters()) if weights is None else weights
    shapes = repr(sorted(tuple(parameter.shape) for parameter in parameters))
    put_on = list(patches)
    cls = type(network)
    return NetworkId(
        f"{cls.__module__}.{cls.__qualname__}", _digest([shapes]),
        _digest(parameters[:: max(len(parameters) // SAMPLED_PARAMETERS, 1)]), _digest(put_on) if put_on else "",
    )  # fmt: skip


def _digest(parts: Iterable[Any]) -> str:
    """Of texts, numbers and some values of tensors; tensors without numeric values at hand are left out."""
    digest = hashlib.sha256()
    for part in parts:
        if not isinstance(part, torch.Tensor):
            digest.update(str(part).encode())
        elif part.device.type != "meta" and part.dtype.is_floating_point:
            digest.update(part.detach().reshape(-1)[:SAMPLED_VALUES].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
