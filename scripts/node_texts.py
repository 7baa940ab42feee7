"""Print the texts of every node of the pack as JSON, in the form of ComfyUI's nodeDefs.json; runs in its Python."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def texts_of(node: Any) -> dict[str, Any]:
    """A node's name and description, and the names and tooltips of its inputs and outputs."""
    schema = node.define_schema()
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {one.id: {"name": one.id, "tooltip": one.tooltip} for one in schema.inputs},
        "outputs": {
            str(place): {"name": one.display_name or one.io_type, "tooltip": one.tooltip}
            for place, one in enumerate(schema.outputs)
        },
    }


def pack_nodes(host_nodes: Any) -> dict[str, Any]:
    """The pack's node classes by id, from ComfyUI's own module `nodes`."""
    return {
        name: node for name, node in host_nodes.NODE_CLASS_MAPPINGS.items()
        if name.startswith("FRDiff") and "Demo" not in name
    }  # fmt: skip


def main() -> None:
    """Load the pack as ComfyUI does and print its texts."""
    import comfy.cli_args
    import torch

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    import nodes as host_nodes

    asyncio.run(host_nodes.load_custom_node(str(ROOT), module_parent="frdiff"))
    print(json.dumps({name: texts_of(node) for name, node in pack_nodes(host_nodes).items()}))


if __name__ == "__main__":
    main()
