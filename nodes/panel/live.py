"""What the canvas shows of runs: text on the nodes, and the step map's events."""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ...frdiff.reporting.report import RunReport
from ...frdiff.reporting.saving import seconds_before
from ...frdiff.reporting.step_map import Cell, computed_cells, planned_cells, with_record
from ...frdiff.runtime.session import Session
from .pace import Pace
from .support import model_names
from .travel import TRAVELLING

EVENT = "frdiff.run"
# An event was measured to cost 0.3 ms on two slow cores, so at this distance less than 0.2 % of the sampling time.
SECONDS_BETWEEN_EVENTS = 0.2
# Runs that a reloaded page can ask for again.
RUNS_KEPT = 64


def node_id(node: Any) -> str | None:
    """The id of the node that is being executed, None outside a graph."""
    return getattr(getattr(node, "hidden", None), "unique_id", None)


def node_type(node: Any) -> str | None:
    """The id of a node's class, None where it has no schema."""
    return getattr(getattr(node, "SCHEMA", None), "node_id", None)


def workflow_id(node: Any) -> str | None:
    """The id of the workflow that the prompt was made from, None for a prompt without one."""
    pnginfo = getattr(getattr(node, "hidden", None), "extra_pnginfo", None)
    return ((pnginfo or {}).get("workflow") or {}).get("id")


def prompt_server() -> Any:
    """The host's server, None where ComfyUI does not run as one."""
    # Importing the host's `server` would start parts of one where there is none.
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def show_outputs(node: Any, output: dict[str, Any]) -> None:
    """Show pictures and text on a node that is still being executed."""
    server = prompt_server()
    if server is not None and server.client_id is not None:
        place = {"node": node_id(node), "display_node": node_id(node), "prompt_id": server.last_prompt_id}
        server.send_sync("executed", {**place, "output": output}, server.client_id)


class Runs:
    """The newest run of each node, as browsers see it, for pages that are opened again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[tuple[Any, ...], dict[str, Any]] = OrderedDict()
        self._reports: dict[tuple[Any, ...], dict[str, Any]] = {}

    def keep(self, client: str | None, event: dict[str, Any]) -> None:
        """Remember an event that holds everything, or add one that holds what is new."""
        key = (client, event["workflow"], event["node"])
        with self._lock:
            before = self._runs.pop(key, None)
            self._runs[key] = merged(before, event)
            while len(self._runs) > RUNS_KEPT:
                self._reports.pop(self._runs.popitem(last=False)[0], None)

    def keep_report(self, client: str | None, event: dict[str, Any], report: dict[str, Any]) -> None:
        """Remember the whole report of a run that has ended, for those who ask for it."""
        with self._lock:
            self._reports[(client, event["workflow"], event["node"])] = report

    def reports(self, client: str | None, workflow: str | None) -> list[dict[str, Any]]:
        """The newest report of each node of a workflow, with the node's id and class and its model's classes."""
        with self._lock:
            return [report for key, report in self._reports.items() if key[:2] == (client, workflow)]

    def forget(self, client: str | None, workflow: str | None) -> None:
        """Drop what a browser queued from a workflow: its nodes are gone, and others may get their ids."""
        with self._lock:
            for runs in (self._runs, self._reports):
                for key in [key for key in runs if key[:2] == (client, workflow)]:
                    del runs[key]

    def of(self, client: str | None) -> list[dict[str, Any]]:
        """The runs that a browser queued."""
        with self._lock:
            return [run for key, run in self._runs.items() if key[0] == client]


def merged(before: dict[str, Any] | None, event: dict[str, Any]) -> dict[str, Any]:
    """A run's state with an event added; an event of another run replaces it."""
    if before is None or before["run"] != event["run"]:
        return event
    return {**before, **event, "cells": {**before["cells"], **event["cells"]}}


def around_data(session: Session) -> dict[str, Any]:
    """The planned cells of the parts before and after a run, and the name of the whole; empty for one in one part."""
    cells = {name: [vars(cell) for cell in each] for name, each in session.around.items()}
    return {**cells, "whole": session.whole} if cells else {}


RUNS = Runs()


class StepMap:
    """Tells the step map of one node what its runs do, a few times per second; `model` is the MODEL of the runs."""

    def __init__(self, node: Any, clock: Callable[[], float] = time.perf_counter, model: Any = None) -> None:
        self._node, self._workflow, self._clock = node_id(node), workflow_id(node), clock
        self._type, self._model = node_type(node), model_names(model)
        self._report: RunReport | None = None
        self._started = self._sent = 0.0
        self._seen = 0
        self._plan: Any = None
        self._cells: dict[int, Cell] = {}
        self._around: dict[str, Any] = {}

    def observe(self, session: Session) -> None:
        """Send what is new, unless something was sent a moment ago; called at the start of each evaluation."""
        if session.report is not self._report:
            self._begin(session.report)
        now = self._clock()
        self._pace.begin(now, session.report.records, session.plan)
        if now - self._sent < SECONDS_BETWEEN_EVENTS:
            return
        self._sent = now
        event: dict[str, Any] = {"state": "running", "current": session.report.records[-1].step}
        if session.plan is not self._plan:
            self._plan = session.plan
            event["planned"] = [vars(cell) for cell in planned_cells(session.sigmas, session.plan)]
            self._around = around_data(session)
            event |= self._around
        times = {"passed": self._pace.passed(now), "left": self._pace.left(now, session.plan)}
        self._send({**event, **times, "cells": self._new_cells(session.report)})

    def end(self, report: RunReport) -> None:
        """Send the whole run, with the times that are known only now, and drop it."""
        if report is not self._report:
            self._begin(report)
        cells = {step: vars(cell) for step, cell in computed_cells(report.records).items()}
        before = seconds_before(report)
        whole = {
            "state": "done" if report.finished else "stopped", "current": None, "cells": cells,
            "report": {**report.summary(), "line": report.line()}, "plain_seconds": before and before.seconds,
            **self._around,
        }  # fmt: skip
        self._send(whole)
        TRAVELLING.add({**self._place, **whole})
        self._keep(report)
        self._report, self._plan, self._cells = None, None, {}

    def _begin(self, report: RunReport) -> None:
        self._report, self._plan, self._cells, self._seen, self._sent = report, None, {}, 0, float("-inf")
        self._around = {}
        self._started = time.time()
        self._pace = Pace(self._clock())

    def _keep(self, report: RunReport) -> None:
        server = prompt_server()
        if server is None or self._node is None:
            return
        place = {"node": self._node, "workflow": self._workflow}
        whole = {"node": self._node, "type": self._type, **self._model, "report": report.data()}
        RUNS.keep_report(getattr(server, "client_id", None), place, whole)

    def _new_cells(self, report: RunReport) -> dict[int, dict[str, Any]]:
        # The newest record is of the evaluation that begins now.
        new = report.records[self._seen : -1]
        self._seen += len(new)
        for record in new:
            self._cells[record.step] = with_record(self._cells.get(record.step), record)
        return {record.step: vars(self._cells[record.step]) for record in new}

    @property
    def _place(self) -> dict[str, Any]:
        return {"node": self._node, "type": self._type, "workflow": self._workflow, "run": self._started}

    def _send(self, event: dict[str, Any]) -> None:
        server = prompt_server()
        if server is None or self._node is None:
            return
        place = self._place
        client = getattr(server, "client_id", None)
        RUNS.keep(client, {**place, **event})
        server.send_sync(EVENT, {**place, **event}, client)
