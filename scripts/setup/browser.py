"""Drive ComfyUI's frontend in a Chromium browser, with Playwright."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import ScriptError
from .server import Client

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False, "Comfy.Workflow.Persist": True}
# The frontend asks the network for these; without a network it says so on the console.
OFFLINE = ("net::ERR_", "Failed to load resource", "Failed to fetch")
# On a machine that does much else.
SECONDS_TO_OPEN = 120


class NoBrowser(ScriptError):
    """No browser can be had here, as a sentence."""


def find_browser() -> str | None:
    """The browser to use: FRDIFF_BROWSER, an installed one, or None for Playwright's own."""
    named = os.environ.get("FRDIFF_BROWSER")
    return named or next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium; raises NoBrowser with a sentence when none can be started."""
    try:
        from playwright.sync_api import Error, sync_playwright  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise NoBrowser("Playwright is not installed. Run python scripts/test.py -m browser.") from None
    with sync_playwright() as playwright:
        try:
            # Chromium's own sandbox does not start for root, in containers above all.
            started = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        except Error as error:
            reason = str(error).strip().splitlines()[0]
            raise NoBrowser(
                f"No Chromium browser starts here ({reason}). Install one, or name it in FRDIFF_BROWSER."
            ) from None
        try:
            yield started
        finally:
            started.close()


class Frontend:
    """One page of the frontend; `errors` are what it wrote to the console as errors."""

    def __init__(self, page: Any, client: Client) -> None:
        self.page, self.client = page, client
        self.errors: list[str] = []
        page.on("console", lambda message: message.type == "error" and self._note(message.text))
        page.on("pageerror", lambda error: self._note(str(error)))

    def open(self) -> None:
        """Load the page and wait until a graph can be edited."""
        self.page.goto(self.client.address, timeout=SECONDS_TO_OPEN * 1000)
        ready = "window.app?.extensionManager && window.app.graph && app.canvas?.canvas?.isConnected"
        self.wait(ready, seconds=SECONDS_TO_OPEN)
        # The frontend restores the last workflow after the application is there.
        self.wait("Boolean(app.extensionManager.workflow?.activeWorkflow)", seconds=SECONDS_TO_OPEN)
        self.page.wait_for_timeout(500)

    def run(self, script: str, argument: Any = None) -> Any:
        """Evaluate JavaScript in the page."""
        return self.page.evaluate(script, argument)

    def wait(self, condition: str, argument: Any = None, seconds: float = 30) -> None:
        """Wait until a JavaScript expression or function is true."""
        self.page.wait_for_function(condition, arg=argument, timeout=seconds * 1000)

    def load(self, workflow: dict[str, Any], name: str | None = None) -> None:
        """Open a workflow in the form that the frontend saves."""
        self.run("([workflow, name]) => app.loadGraphData(workflow, true, true, name)", [workflow, name])
        self.page.wait_for_timeout(300)

    def look_at(self, scale: float = 1.0, offset: tuple[float, float] = (0, 0)) -> None:
        """Set the canvas's zoom and place."""
        self.run(
            "([scale, offset]) => { app.canvas.ds.scale = scale; app.canvas.ds.offset = offset;"
            " app.canvas.setDirty(true, true) }",
            [scale, list(offset)],
        )
        self.page.wait_for_timeout(400)

    def screenshot(self, path: Path, **options: Any) -> None:
        """Save a picture of the page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path), **options)

    def _note(self, text: str) -> None:
        if not any(part in text for part in OFFLINE):
            self.errors.append(text)


@contextmanager
def frontend(
    started: Any, client: Client, settings: dict[str, Any] | None = None, size: tuple[int, int] = (1500, 900)
) -> Iterator[Frontend]:
    """A page of the frontend with its settings stored in ComfyUI beforehand."""
    client.post("/settings", json.dumps({**SETTINGS, **(settings or {})}).encode())
    context = started.new_context(viewport={"width": size[0], "height": size[1]})
    try:
        shown = Frontend(context.new_page(), client)
        shown.open()
        yield shown
    finally:
        context.close()
