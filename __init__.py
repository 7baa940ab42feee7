"""FRDiff: the same picture in less time, for every diffusion model in ComfyUI."""

from .nodes import FRDiffExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> FRDiffExtension:
    """Called by ComfyUI to find the nodes."""
    return FRDiffExtension()
