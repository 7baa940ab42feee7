"""Progress text on the nodes."""

from __future__ import annotations

import sys
from typing import Any


def node_id(node: Any) -> str | None:
    """The id of the node that is being executed, None outside a graph."""
    return getattr(getattr(node, "hidden", None), "unique_id", None)


def show(text: str, unique_id: str | None) -> None:
    """Write a line on a node, where ComfyUI runs as a server."""
    # Importing the host's `server` would start parts of one where there is none.
    prompt_server = getattr(sys.modules.get("server"), "PromptServer", None)
    instance = getattr(prompt_server, "instance", None)
    if instance is not None and unique_id is not None:
        instance.send_progress_text(text, unique_id)
