"""HTTP routes for the step map: a plan for the widgets' values, and the runs that a page has missed."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from ..frdiff.errors import FRDiffError
from .live import RUNS, prompt_server
from .planning import plan, settings_from


async def plan_route(request: web.Request) -> web.Response:
    """POST /frdiff/plan: sampler settings in, planned cells out; 400 with a sentence for a wrong request."""
    try:
        body: Any = await request.json()
        if not isinstance(body, dict):
            raise FRDiffError("The request for a plan could not be read.")
        # Off the event loop: a plan for thousands of steps takes a moment.
        answer = await asyncio.to_thread(plan, settings_from(body))
    except FRDiffError as error:
        return web.json_response({"error": str(error)}, status=400)
    except ValueError:
        return web.json_response({"error": "The request for a plan could not be read."}, status=400)
    return web.json_response(answer)


async def runs_route(request: web.Request) -> web.Response:
    """GET /frdiff/runs?client=ID: the newest run of each node that this browser queued."""
    return web.json_response(RUNS.of(request.query.get("client")))


def register() -> None:
    """Add the routes where ComfyUI runs as a server."""
    server = prompt_server()
    if server is not None:
        server.routes.post("/frdiff/plan")(plan_route)
        server.routes.get("/frdiff/runs")(runs_route)
