"""What a node FRDiff Auto-FR of a workflow asks for."""

from __future__ import annotations

from typing import Any

from headless import inputs_of
from in_process import engine_module


def request_of(host: Any, prompt: Any, node: str) -> Any:
    """The node's inputs, ready to sample with."""
    return engine_module(host, "nodes.calibrating").Request(**inputs_of(host, prompt, node))


def order_of(request: Any) -> dict[str, Any]:
    """What the calibration itself has to know of a request."""
    return {"made": request.provenance(), "effort": request.effort, "name": request.name, "seed": request.seed}
