"""A real ComfyUI with the pack and the demo models, and pages of its frontend in a real browser."""

import importlib.util
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from setup import HOST_DIR, ROOT
from setup.browser import NoBrowser, browser, frontend
from setup.host import Host, link_packs
from setup.server import comfyui

PICTURES = ROOT / "output" / "browser"


@pytest.fixture(scope="session")
def started():
    """A browser, or a skip with the reason in a sentence."""
    opened = browser()
    try:
        instance = opened.__enter__()
    except NoBrowser as error:
        pytest.skip(str(error))
    yield instance
    opened.__exit__(None, None, None)


@pytest.fixture(scope="session")
def client(started):
    """ComfyUI on the CPU with a base directory of its own, so that nobody's settings change."""
    base = HOST_DIR / "browser-base"
    shutil.rmtree(base, ignore_errors=True)
    link_packs(base / "custom_nodes")
    comfy = Path(importlib.util.find_spec("folder_paths").origin).parent
    host = replace(Host(comfy, Path(sys.executable), base, Path(pytest.__file__).parent.parent), base=base)
    root = os.environ.get("FRDIFF_FRONTEND")
    options = ["--front-end-root", root] if root else []
    with comfyui(host, True, *options) as running:
        yield running


@pytest.fixture(params=["canvas", "vue nodes"])
def renderer(request):
    """The settings of the two ways in which the frontend draws nodes."""
    return {"Comfy.VueNodes.Enabled": request.param == "vue nodes"}


@pytest.fixture
def page(started, client, renderer):
    """A page of the frontend; at the end no error may be on its console."""
    with frontend(started, client, renderer) as shown:
        # What the frontend itself complains about without any workflow is not the pack's.
        shown.errors.clear()
        yield shown
        assert shown.errors == []


@pytest.fixture
def shoot(request):
    """Save a picture of a page under the test's name."""

    def save(page, what):
        name = "".join(c if c.isalnum() else "-" for c in request.node.name)
        page.screenshot(PICTURES / f"{name}-{what}.png")

    return save
