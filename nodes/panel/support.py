"""What a bug report should say of this machine: versions, the device, and the classes of a model; no names of files."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path
from typing import Any

import torch
from comfy import model_management

PROJECT = Path(__file__).resolve().parent.parent.parent / "pyproject.toml"


def versions() -> dict[str, str | None]:
    """The versions of what takes part in a run, by name."""
    return {
        "frdiff": pack_version(),
        "comfyui": getattr(sys.modules.get("comfyui_version"), "__version__", None),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
        "device": model_management.get_torch_device_name(model_management.get_torch_device()),
    }


def pack_version() -> str | None:
    """The version of this pack as its pyproject.toml says; None without one."""
    # Python 3.10 reads no TOML.
    found = re.search(r'^version = "([^"]+)"', PROJECT.read_text(encoding="utf-8"), re.M) if PROJECT.is_file() else None
    return found[1] if found else None


def model_names(model: Any) -> dict[str, str | None]:
    """The classes of a MODEL and of its network; None where there is no model."""
    inner = getattr(model, "model", None)
    network = getattr(inner, "diffusion_model", None)
    return {"model": inner and type(inner).__name__, "network": network and type(network).__name__}
