"""Count what is remembered, by model and size: real runs with the true latents, of networks that only pass them on.

    python scripts/make.py memory

What the dial remembers are outputs, so that their shape and type alone decide, and no weights are needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from setup import ROOT
from setup.in_process import load_comfyui
from setup.inside import inside

from .marks import with_part

PAGE = ROOT / "README.md"
MARK = "memory"
HEAD = "| model | picture or video | conditions | kept, MB | with fresh noise, MB |\n|---|---|---|---|---|"
# One that adds no noise, and one that does: what they remember are outputs, and denoised latents.
SAMPLERS = ("euler", "euler_ancestral")


def make(arguments: argparse.Namespace) -> int:
    """Count inside the host's Python, and write the table; returns the exit code."""
    return inside(arguments.comfyui, lambda _: _make())


def _make() -> None:
    host = load_comfyui("cpu")
    # It needs ComfyUI's own modules.
    from .memory_runs import SIZES, counted

    lines = [HEAD]
    for size in SIZES:
        lines.append(line(host, size, counted))
        print(lines[-1], flush=True)
    PAGE.write_text(with_part(PAGE.read_text(encoding="ascii"), MARK, "\n".join(lines)), encoding="ascii")


def line(host: Any, size: Any, counted: Callable[[Any, Any, str], int]) -> str:
    """A size's row."""
    figures = " | ".join(f"{counted(host, size, sampler) / 1e6:.1f}" for sampler in SAMPLERS)
    return f"| {size.name} | {size.what} | {size.conditions} | {figures} |"
