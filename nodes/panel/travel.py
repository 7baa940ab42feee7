"""Reports that travel: a run's report goes into the metadata of whatever the prompt saves.

The host's saving nodes write all that `extra_pnginfo` holds, so that is where it is put, under a name of its own. The
page opens only the workflow of a file, so it is there as well.
"""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from comfy_execution.utils import get_executing_context

# The name in the metadata and in the workflow's own `extra`, and what version of the format is there.
NAME, VERSION = "frdiff", {"frdiff_report": 1}
# Reports of nodes that the host answers from its cache, for the pictures that are saved after all.
KEPT = 64


class Travelling:
    """The prompts that wait or run, and the reports of what they had computed."""

    def __init__(self) -> None:
        self._queue: Any = None
        self._lock = threading.Lock()
        self._prompts: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._reports: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def register(self, server: Any) -> None:
        """Hear of the prompts of the host's server."""
        self._queue = server.prompt_queue
        server.add_on_prompt_handler(self.on_prompt)

    def on_prompt(self, request: dict[str, Any]) -> dict[str, Any]:
        """The host's hook: remember where a prompt's metadata are, and put in what is known of it already.

        A prompt without metadata gets none: nodes of other packs take them for a sign of a workflow.
        """
        prompt, extra = request.get("prompt"), request.get("extra_data")
        metadata = extra.get("extra_pnginfo") if isinstance(extra, dict) else None
        if not isinstance(prompt, dict) or not isinstance(metadata, dict):
            return request
        name = str(request.setdefault("prompt_id", str(uuid.uuid4())))
        for place in places(metadata):
            place.pop(NAME, None)
        with self._lock:
            self._forget_the_done()
            self._prompts[name] = prompt, metadata
            for run in [self._reports.get(signed) for signed in signatures(prompt).values()] if self._reports else []:
                if run:
                    put(metadata, run)
        return request

    def add(self, run: dict[str, Any]) -> None:
        """A run has ended in the node that the host executes: its prompt's pictures carry it from now on."""
        context = get_executing_context()
        known = self._prompts.get(context.prompt_id) if context else None
        if context is None or known is None:
            return
        prompt, metadata = known
        run = rounded(run)
        with self._lock:
            put(metadata, run)
            key = signatures(prompt).get(context.node_id)
            if key is None:
                # A node that the host made while it ran.
                return
            self._reports.pop(key, None)
            self._reports[key] = run
            while len(self._reports) > KEPT:
                self._reports.popitem(last=False)

    def _forget_the_done(self) -> None:
        running, waiting = self._queue.get_current_queue_volatile()
        known = {str(item[1]) for item in (*running, *waiting)}
        # The newest may be on its way into the queue.
        newest = list(self._prompts)[-1:]
        self._prompts = {name: held for name, held in self._prompts.items() if name in known or name in newest}


def put(metadata: dict[str, Any], run: dict[str, Any]) -> None:
    """Put a run among the reports of some metadata, beside those of other nodes."""
    runs = metadata.get(NAME, {}).get("runs", {})
    carried = {**VERSION, "runs": {**runs, str(run["node"]): run}}
    for place in places(metadata):
        place[NAME] = carried


def places(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """Where reports are put: the metadata, and what its workflow keeps besides nodes, where there is a workflow."""
    workflow = metadata.get("workflow")
    extra = workflow.setdefault("extra", {}) if isinstance(workflow, dict) else None
    return [metadata, extra] if isinstance(extra, dict) else [metadata]


def signatures(prompt: Mapping[str, Any]) -> dict[str, str]:
    """What each node of a prompt computes, by its number: its inputs and those of all nodes before it."""
    inputs = {name: _inputs_of(node) for name, node in prompt.items()}
    before = {name: {one[0] for one in of.values() if _is_link(one, prompt)} for name, of in inputs.items()}
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError:
        # The host refuses such a prompt.
        return {}
    known: dict[str, str] = {}
    for name in order:
        said = {key: [known[one[0]], one[1]] if _is_link(one, prompt) else one for key, one in inputs[name].items()}
        text = json.dumps([name, _class_of(prompt[name]), said], default=str, sort_keys=True)
        known[name] = hashlib.sha256(text.encode()).hexdigest()
    return known


def _inputs_of(node: Any) -> dict[str, Any]:
    inputs = node.get("inputs") if isinstance(node, dict) else None
    return inputs if isinstance(inputs, dict) else {}


def _class_of(node: Any) -> Any:
    return node.get("class_type") if isinstance(node, dict) else None


def _is_link(value: Any, prompt: Mapping[str, Any]) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in prompt


def rounded(run: dict[str, Any]) -> dict[str, Any]:
    """A run with its numbers as they are shown, so that it does not make pictures larger than it must."""
    cells = {step: {name: _short(value) for name, value in cell.items()} for step, cell in run["cells"].items()}
    return {**run, "cells": cells}


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


TRAVELLING = Travelling()
