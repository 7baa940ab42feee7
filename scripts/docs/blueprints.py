"""The subgraph blueprints as data: nodes inside, and what their inputs and outputs are connected to."""

from __future__ import annotations

from dataclasses import dataclass

from .workflow_graphs import SAMPLER, Graph, Node


@dataclass(frozen=True)
class Blueprint:
    """A subgraph for the node library: inputs that lead to several inner ones, and outputs of inner nodes."""

    description: str
    inside: Graph
    inputs: dict[str, tuple[str, ...]]
    outputs: dict[str, str]


def both(name: str) -> tuple[str, str]:
    """The same input of both samplers."""
    return (f"plain.{name}", f"fast.{name}")


COMPARE = Blueprint(
    "Samples the same seed with KSampler and with FRDiff KSampler, and says how like the pictures are.",
    Graph(
        {
            "plain": Node("KSampler", (40, 60), SAMPLER, "A: KSampler"),
            "fast": Node("FRDiffKSampler", (40, 400), {**SAMPLER, "speedup": 2.0}, "B: FRDiff KSampler"),
            "decode_a": Node("VAEDecode", (420, 60)),
            "decode_b": Node("VAEDecode", (420, 400)),
            "compare": Node("FRDiffCompare", (680, 200), {"amplify": 4.0}),
        },
        (
            "plain.LATENT -> decode_a.samples", "fast.LATENT -> decode_b.samples", "decode_a.IMAGE -> compare.image_a",
            "decode_b.IMAGE -> compare.image_b", "plain.LATENT -> compare.latent_a",
            "fast.LATENT -> compare.latent_b", "fast.report -> compare.report_b",
        ),
    ),
    {
        **{name: both(name) for name in ("model", "positive", "negative", "latent_image")},
        "vae": ("decode_a.vae", "decode_b.vae"),
        **{name: both(name) for name in ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")},
        "speedup": ("fast.speedup",),
    },
    {
        "A: plain": "decode_a.IMAGE", "B: FRDiff": "decode_b.IMAGE", "difference": "compare.difference",
        "text": "compare.text", "report": "fast.report",
    },
)  # fmt: skip

# Not a workflow's name: the frontend would open that workflow as this blueprint.
BLUEPRINTS = {"FRDiff beside KSampler": COMPARE}
