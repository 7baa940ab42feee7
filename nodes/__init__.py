"""ComfyUI adapters: the only package that imports the host."""

from comfy_api.latest import ComfyExtension

from .analysis import FRDiffCompare, FRDiffReport
from .calibration import FRDiffAutoFR, FRDiffScheduleLoader
from .panel.routes import register
from .patching import FRDiffModelPatcher
from .sampling import FRDiffKSampler, FRDiffKSamplerAdvanced
from .schedules import FRDiffSchedule
from .sweep import FRDiffSweep

# Once at import: the host collects routes before it starts to listen.
register()


class FRDiffExtension(ComfyExtension):
    """The pack's nodes."""

    async def get_node_list(self):
        """Every node class of the pack."""
        return [
            FRDiffKSampler, FRDiffKSamplerAdvanced, FRDiffModelPatcher, FRDiffSchedule,
            FRDiffScheduleLoader, FRDiffAutoFR, FRDiffReport, FRDiffCompare, FRDiffSweep,
        ]  # fmt: skip
