"""Progress text on the nodes."""

from __future__ import annotations

from typing import Any


def node_id(node: Any) -> str | None:
    """The id of the node that is being executed, None outside a graph."""
    hidden = getattr(node, "hidden", None)
    return getattr(hidden, "unique_id", None)


def show(text: str, unique_id: str | None) -> None:
    """Write a line on a node, where a server is running."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is not None and unique_id is not None:
        server.send_progress_text(text, unique_id)
