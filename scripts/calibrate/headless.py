"""What a workflow in ComfyUI's API format gives to one of its nodes, without ComfyUI's server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from setup import ScriptError

CAPTURE = "FRDiffCaptureInputs"

Prompt = dict[str, dict[str, Any]]


def read_prompt(path: Path) -> Prompt:
    """The nodes of an API-format workflow file; raises ScriptError with a sentence."""
    try:
        prompt = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScriptError(f"The workflow {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ScriptError(f"The workflow {path} is not JSON.") from error
    nodes = prompt.values() if isinstance(prompt, dict) else []
    if not nodes or not all(isinstance(node, dict) and "class_type" in node and "inputs" in node for node in nodes):
        raise ScriptError(f"{path} is not in API format. In ComfyUI, export it with Workflow > Export (API).")
    return prompt


def node_of(prompt: Prompt, class_type: str, chosen: str | None = None) -> str:
    """The id of the only node of a class, or of the chosen one."""
    ids = [node for node, each in prompt.items() if each["class_type"] == class_type]
    if chosen is None and len(ids) == 1:
        return ids[0]
    if chosen in ids:
        return str(chosen)
    if not ids:
        raise ScriptError(f"The workflow has no node {class_type}. Add one, connect it, and export again.")
    raise ScriptError(f"The workflow has {len(ids)} nodes {class_type}; choose one with --node: {', '.join(ids)}.")


def inputs_of(host: Any, prompt: Prompt, node: str) -> dict[str, Any]:
    """Execute what a node depends on, with ComfyUI's own executor, and return the node's inputs by name."""
    import execution
    import server

    # ComfyUI's own hints are too narrow.
    started: Any = server.PromptServer.instance
    executor_class: Any = execution.PromptExecutor
    cls = host.NODE_CLASS_MAPPINGS[prompt[node]["class_type"]]
    captured: list[dict[str, Any]] = []
    host.NODE_CLASS_MAPPINGS[CAPTURE] = _capturing(cls, captured)
    needed = {each: prompt[each] for each in sorted(set(_upstream(prompt, node)))}
    needed[node] = {**prompt[node], "class_type": CAPTURE}
    valid, error, _, wrong = asyncio.run(execution.validate_prompt("frdiff", needed, [node]))
    if not valid:
        raise ScriptError(f"ComfyUI refuses the workflow: {_complaints(error, wrong, prompt)}.")
    # As ComfyUI's main.py calls it; later versions have the last one as well.
    sizes = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
    executor = executor_class(started, cache_type=execution.CacheType.CLASSIC, cache_args=sizes)
    executor.execute(needed, "frdiff", {}, [node])
    if not captured:
        failed = next((data for event, data in executor.status_messages if event == "execution_error"), {})
        raise ScriptError(
            f"The node {failed.get('node_type')} of the workflow failed: {str(failed.get('exception_message')).strip()}"
        )
    return captured[0]


def _capturing(cls: Any, captured: list[dict[str, Any]]) -> type:
    """A node with another's inputs that keeps what it is given."""
    types = {name: entries for name, entries in cls.INPUT_TYPES().items() if name in ("required", "optional")}

    class Capture:
        FUNCTION = "capture"
        RETURN_TYPES = ()
        CATEGORY = ""
        OUTPUT_NODE = True

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return types

        def capture(self, **inputs: Any) -> tuple[()]:
            captured.append(inputs)
            return ()

    return Capture


def _upstream(prompt: Prompt, node: str) -> Iterator[str]:
    """A node, and what it depends on; a graph with a loop is refused by ComfyUI itself."""
    seen: set[str] = set()
    waiting = [node]
    while waiting:
        at = waiting.pop()
        if at in seen or at not in prompt:
            continue
        seen.add(at)
        yield at
        links = (value for value in prompt[at]["inputs"].values() if isinstance(value, list) and len(value) == 2)
        waiting += [str(source) for source, _ in links]


def _complaints(error: Any, wrong: dict[str, Any], prompt: Prompt) -> str:
    found = [
        f"{prompt[node]['class_type']}: {reason['message']} ({reason['details']})"
        for node, each in wrong.items()
        for reason in each["errors"]
    ]
    return "; ".join(found) or error["message"]
