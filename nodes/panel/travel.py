"""Reports that travel: a run's report goes into the metadata of whatever the prompt saves.

The host's saving nodes write all that `extra_pnginfo` holds, so that is where it is put, under a name of its own.
"""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from comfy_execution.utils import get_executing_context

# The name in the metadata, and the first key of what is there, by which a page finds it in a file of any kind.
NAME, MARK = "frdiff", "frdiff_report"
VERSION = 1
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
        """The host's hook: see to it that there is a place for reports, and put those in that are known already."""
        prompt = request.get("prompt")
        if not isinstance(prompt, dict):
            return request
        extra = _dict_in(request, "extra_data")
        metadata = _dict_in(extra, "extra_pnginfo")
        request.setdefault("prompt_id", str(uuid.uuid4()))
        with self._lock:
            self._forget_the_done()
            self._prompts[str(request["prompt_id"])] = prompt, metadata
            # A workflow that was opened from a picture may bring the report of that picture.
            metadata.pop(NAME, None)
            signed = ((self._reports.get(signature(prompt, node)), node) for node in prompt)
            for run in [run for run, _ in signed if run]:
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
            key = signature(prompt, context.node_id)
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
    # The mark comes first: a page looks for it.
    metadata[NAME] = {MARK: VERSION, "runs": {**runs, str(run["node"]): run}}


def signature(prompt: Mapping[str, Any], node: str) -> str:
    """What a node of a prompt computes: its inputs and those of all nodes before it, whatever their numbers."""
    known: dict[str, str] = {}

    def of(name: str, above: tuple[str, ...]) -> str:
        if name in above or name not in prompt:
            return "?"
        if name not in known:
            at = prompt[name] if isinstance(prompt[name], dict) else {}
            inputs = at.get("inputs") if isinstance(at.get("inputs"), dict) else {}
            said = {key: value(one, (*above, name)) for key, one in sorted(inputs.items())}
            text = json.dumps([at.get("class_type"), said], default=str)
            known[name] = hashlib.sha256(text.encode()).hexdigest()
        return known[name]

    def value(one: Any, above: tuple[str, ...]) -> Any:
        is_link = isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) and one[0] in prompt
        return [of(one[0], above), one[1]] if is_link else one

    return f"{node} {of(node, ())}"


def rounded(run: dict[str, Any]) -> dict[str, Any]:
    """A run with its numbers as they are shown, so that it does not make pictures larger than it must."""
    cells = {step: {name: _short(value) for name, value in cell.items()} for step, cell in run["cells"].items()}
    return {**run, "cells": cells}


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _dict_in(data: dict[str, Any], name: str) -> dict[str, Any]:
    """A dictionary within one, made where there is none."""
    if not isinstance(data.get(name), dict):
        data[name] = {}
    return data[name]


TRAVELLING = Travelling()
