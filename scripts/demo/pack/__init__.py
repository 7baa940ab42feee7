"""A companion pack for ComfyUI: one node that loads the two small demo models of FRDiff."""

from comfy_api.latest import ComfyExtension

from .loader import FRDiffDemoModelLoader


class DemoModelsExtension(ComfyExtension):
    """The pack's nodes."""

    async def get_node_list(self):
        return [FRDiffDemoModelLoader]


async def comfy_entrypoint() -> DemoModelsExtension:
    return DemoModelsExtension()
