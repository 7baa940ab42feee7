"""Setting up a real ComfyUI, running it, and running scripts in its Python; all other rooms stand on this one."""

from __future__ import annotations

from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
ROOT = SCRIPTS.parent
HOST_DIR = ROOT / ".host"
# The folders that are linked into ComfyUI's custom nodes, by the names of the links.
PACKS = {"comfyui-frdiff": ROOT, "frdiff-demo-models": SCRIPTS / "demo" / "pack"}


class ScriptError(Exception):
    """What stopped a script, and what to do about it, as a sentence."""
