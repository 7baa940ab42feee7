"""HTTP routes for what the nodes show: plans, fronts of schedule files, and the runs that a page has missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from ...frdiff.errors import FRDiffError
from .fronts import front_of
from .live import RUNS, prompt_server
from .plan_preview import plan, settings_from
from .support import versions
from .travel import TRAVELLING

UNREADABLE = "The request could not be read."


async def plan_route(request: web.Request) -> web.Response:
    """POST /frdiff/plan: sampler settings in, planned cells out; 400 with a sentence for a wrong request."""
    return await _answer(request, _plan)


async def front_route(request: web.Request) -> web.Response:
    """POST /frdiff/front: a node's id and widgets in, the front of its schedule file out; 400 with a sentence."""
    return await _answer(request, front_of)


async def runs_route(request: web.Request) -> web.Response:
    """GET /frdiff/runs?client=ID: the newest run of each node that this browser queued."""
    return web.json_response(RUNS.of(request.query.get("client")))


async def support_route(request: web.Request) -> web.Response:
    """GET /frdiff/support?client=ID&workflow=ID: versions, and the newest report of each node, for a bug report."""
    runs = RUNS.reports(request.query.get("client"), request.query.get("workflow"))
    return web.json_response({"versions": versions(), "runs": runs})


async def forget_route(request: web.Request) -> web.Response:
    """POST /frdiff/forget: ids of a client and a workflow in; their runs are forgotten, since the nodes are gone."""
    return await _answer(request, _forget)


def register() -> None:
    """Add the routes where ComfyUI runs as a server, and hear of its prompts."""
    server = prompt_server()
    if server is not None:
        TRAVELLING.register(server)
        server.routes.post("/frdiff/plan")(plan_route)
        server.routes.post("/frdiff/front")(front_route)
        server.routes.post("/frdiff/forget")(forget_route)
        server.routes.get("/frdiff/runs")(runs_route)
        server.routes.get("/frdiff/support")(support_route)


async def _answer(request: web.Request, make: Callable[[dict[str, Any]], dict[str, Any]]) -> web.Response:
    try:
        body: Any = await request.json()
        if not isinstance(body, dict):
            raise FRDiffError(UNREADABLE)
        # Off the event loop: files are read, and a plan for thousands of steps takes a moment.
        answer = await asyncio.to_thread(make, body)
    except FRDiffError as error:
        return web.json_response({"error": str(error)}, status=400)
    except (ValueError, LookupError, OSError, RecursionError):
        # No JSON, an unknown charset, a file that goes while it is read, lists in lists.
        return web.json_response({"error": UNREADABLE}, status=400)
    return web.json_response(answer)


def _plan(body: dict[str, Any]) -> dict[str, Any]:
    return plan(settings_from(body))


def _forget(body: dict[str, Any]) -> dict[str, Any]:
    RUNS.forget(body.get("client"), body.get("workflow"))
    return {}
