"""Make the pictures of the help pages and of docs/: real screenshots and real runs of a demo model.

The README's picture is the demo's: run scripts/demo.py before.

    python scripts/make.py pictures               all pictures
    python scripts/make.py pictures --only FRDiffSweep video    some of them
    python scripts/make.py pictures --comfyui P   with an existing ComfyUI
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from setup import HOST_DIR, PACKS, ROOT
from setup.browser import Frontend, browser, frontend
from setup.host import Host, ensure_browser_tools, link_packs
from setup.in_process import load_comfyui, pack_module
from setup.inside import inside
from setup.server import Client, comfyui

HELP = ROOT / "web" / "docs"
WORKFLOWS = ROOT / "workflows"
DEMO = PACKS["frdiff-demo-models"] / "workflows" / "FRDiff demo.json"
SAMPLER = 5
DONE = f"""() => app.graph.getNodeById({SAMPLER}).widgets.find((w) => w.name === 'frdiff_steps').element
  .shadowRoot.querySelector('.summary').textContent.includes('faster')"""
# Makes a calibration node in front of the sampler, with the sampler's own sources.
ADD = """([sampler, type, values, steps]) => {
  const node = LiteGraph.createNode(type), target = app.graph.getNodeById(sampler)
  node.pos = [-400, 60]
  app.graph.add(node)
  for (const [name, value] of Object.entries(values)) node.widgets.find((w) => w.name === name).value = value
  node.setSize([340, node.size[1]])
  for (const [to, input] of node.inputs.entries()) {
    const link = target.inputs.find((one) => one.name === input.name && one.link != null && !one.widget)?.link
    const { origin_id: id, origin_slot: slot } = (link != null && app.graph.links.get(link)) || {}
    if (id != null) app.graph.getNodeById(id).connect(slot, node, to)
  }
  target.widgets.find((w) => w.name === 'steps').value = steps
  const takes = target.inputs.findIndex((input) => input.name === 'schedule')
  if (node.outputs[0].type === target.inputs[takes].type) node.connect(0, target, takes)
  return node.id
}"""
SAYS = """([id, widget, text]) => app.graph.getNodeById(id).widgets.find((w) => w.name === widget).element.shadowRoot
  .querySelector('.summary').textContent.includes(text)"""
CALIBRATE = {
    "steps": 20, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "effort": "normal", "name": "my model"
}  # fmt: skip
# What the node above it has made.
LOAD = {"file": f"{CALIBRATE['name']}.safetensors", "by": "error: close"}
USUAL = {"steps": 28, "cfg": 7.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
# What scripts/demo.py has made for the README, where it has run.
SHEET = ROOT / "output" / "demo" / "readme.jpg"
# Where nodes are on the screen, together.
PLACE = """(ids) => {
  const nodes = ids.map((id) => app.graph.getNodeById(id)), box = app.canvas.canvas.getBoundingClientRect()
  const { scale, offset } = app.canvas.ds
  const left = Math.min(...nodes.map((n) => n.pos[0])), top = Math.min(...nodes.map((n) => n.pos[1])) - 32
  const right = Math.max(...nodes.map((n) => n.pos[0] + n.size[0]))
  const bottom = Math.max(...nodes.map((n) => n.pos[1] + n.size[1]))
  const x = box.x + (left + offset[0]) * scale, y = box.y + (top + offset[1]) * scale
  return { x: x - 6, y: y - 6, width: (right - left) * scale + 12, height: (bottom - top) * scale + 12 }
}"""
IDS = "(types) => app.graph.nodes.filter((node) => types.includes(node.type)).map((node) => node.id)"
# What stands for the loaders and sizes of a shared workflow.
ON_DEMO = {
    "CheckpointLoaderSimple": ("FRDiffDemoModelLoader", ["unet"]),
    "EmptyLatentImage": ("EmptyLatentImage", [128, 128, 1]),
    "EmptySD3LatentImage": ("EmptyLatentImage", [128, 128, 1]),
}


# In front of the demo's sampler: widgets, and what the widget that is waited for says in the end.
ADDED = {
    "FRDiffAutoFR": (CALIBRATE, ("frdiff_front", CALIBRATE["name"])),
    "FRDiffScheduleLoader": (LOAD, ("frdiff_front", CALIBRATE["name"])),
    "FRDiffSchedule": ({"preset": "paper M=2"}, ("frdiff_steps", "planned")),
    "FRDiffKSamplerAdvanced": ({"steps": 40, "start_at_step": 10}, ("frdiff_steps", "30 steps")),
}
# In a shared workflow, with the nodes that are shown beside.
IN_WORKFLOWS = {
    "FRDiffModelPatcher": ("FRDiff in any graph", ["FRDiffModelPatcher", "BasicScheduler"]),
    "FRDiffCompare": ("FRDiff A-B compare", ["FRDiffCompare"]),
}
CLIP = "video"
PLOTS = {"FRDiffReport": "report", "FRDiffSweep": "sweep"}
TALL = (1500, 1200)
# What the demo models know, by the titles in the shared workflows.
PROMPTS = {"Prompt": "grinning face, 3d", "Negative prompt": ""}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    names = [*sorted(["FRDiffKSampler", *ADDED, *IN_WORKFLOWS, *PLOTS]), CLIP]
    parser.add_argument("--only", nargs="+", metavar="PICTURE", choices=names, help=f"some of {', '.join(names)}")


def make(arguments: argparse.Namespace) -> int:
    """The pictures; returns the exit code."""
    only = arguments.only
    if only == [CLIP]:
        return inside(arguments.comfyui, lambda _: clip_picture())
    return inside(arguments.comfyui, lambda host: _make(host, only), ensure_browser_tools)


def clip_picture() -> None:
    """What the dial does to a clip of the video model, in this process."""
    host = load_comfyui("cpu")
    pack_module(host, "scripts.docs.clip_strip").draw(host, ROOT / "docs" / f"{CLIP}.png")


def _make(host: Host, only: list[str] | None) -> None:
    def wanted(names: Iterable[str]) -> list[str]:
        return [name for name in names if not only or name in only]

    base = HOST_DIR / "picture-base"
    shutil.rmtree(base, ignore_errors=True)
    link_packs(base / "custom_nodes")
    with comfyui(replace(host, base=base), True) as client, browser() as started:
        for node in wanted(["FRDiffKSampler"]):
            with frontend(started, client) as page:
                node_picture(page, picture_of(node))
        for node in wanted(ADDED):
            with frontend(started, client, size=TALL) as page:
                added_picture(page, picture_of(node), node, *ADDED[node])
        for node in wanted(IN_WORKFLOWS):
            with frontend(started, client, size=TALL) as page:
                workflow_picture(page, picture_of(node), *IN_WORKFLOWS[node])
        for node in wanted(PLOTS):
            plot_picture(client, PLOTS[node], "plot", picture_of(node))
    if wanted([CLIP]):
        clip_picture()
    if SHEET.is_file() and not only:
        shutil.copyfile(SHEET, ROOT / "docs" / "demo.jpg")


def picture_of(node: str) -> Path:
    """Where the picture of a node's help page is."""
    return HELP / f"{node}.png"


def node_picture(page: Frontend, path: Path) -> None:
    """The sampler node after a run at usual settings."""
    workflow = json.loads(DEMO.read_text())
    (sampler,) = [node for node in workflow["nodes"] if node["id"] == SAMPLER]
    sampler["widgets_values"][2:6] = USUAL.values()
    page.load(workflow)
    page.look_at(1.25, (-740, 80))
    page.run("() => app.queuePrompt(0)")
    page.wait(DONE, seconds=120)
    page.page.wait_for_timeout(1500)
    page.screenshot(path, clip=page.run(PLACE, [SAMPLER]))


def added_picture(page: Frontend, path: Path, node: str, values: dict[str, Any], shows: tuple[str, str]) -> None:
    """A node in front of the demo's sampler, once its widget says a text; what has no file yet is calibrated."""
    page.load(json.loads(DEMO.read_text()))
    made = page.run(ADD, [SAMPLER, node, values, values.get("steps", CALIBRATE["steps"])])
    page.look_at(1.0, (600, 160))
    if "effort" in values:
        page.run("() => app.queuePrompt(0)")
        page.wait(DONE, seconds=1200)
    page.wait(SAYS, [made, *shows])
    page.page.wait_for_timeout(1500)
    page.screenshot(path, clip=page.run(PLACE, [made]))


def workflow_picture(page: Frontend, path: Path, name: str, types: list[str]) -> None:
    """Nodes of some types in a shared workflow that has run on a demo model."""
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text())
    for node in workflow["nodes"]:
        if node["type"] in ON_DEMO:
            node["type"], node["widgets_values"] = ON_DEMO[node["type"]]
        if node.get("title") in PROMPTS:
            node["widgets_values"] = [PROMPTS[node["title"]]]
    page.load(workflow)
    ids = page.run(IDS, types)
    place = page.run(PLACE, ids)
    page.look_at(1.0, (300 - place["x"], 200 - place["y"]))
    before = len(page.client.json("/history"))
    page.run("() => app.queuePrompt(0)")
    while len(page.client.json("/history")) == before:
        page.page.wait_for_timeout(300)
    page.page.wait_for_timeout(2000)
    page.screenshot(path, clip=page.run(PLACE, ids))


def plot_picture(client: Client, node: str, output: str, path: Path) -> None:
    """The plot that a node makes of a run of the demo model at usual settings."""
    graph: dict[str, Any] = {
        "model": {"class_type": "FRDiffDemoModelLoader", "inputs": {"model": "unet"}},
        "prompt": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": PROMPTS["Prompt"]}},
        "negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": ""}},
        # Several, so that the network takes most of the time as it does in models that people run.
        "size": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 4}},
    }
    sampler = {
        "model": ["model", 0], "positive": ["prompt", 0], "negative": ["negative", 0], "latent_image": ["size", 0],
        "seed": 1, "denoise": 1.0, **USUAL,
    }  # fmt: skip
    graph["sampler"] = {"class_type": "FRDiffKSampler", "inputs": {**sampler, "speedup": 2.0}}
    graph["report"] = {"class_type": "FRDiffReport", "inputs": {"report": ["sampler", 1]}}
    sweep = {**sampler, "vae": ["model", 2], "dials": "1.5, 2, 3", "presets": "paper M=2", "repeats": 5}
    graph["sweep"] = {"class_type": "FRDiffSweep", "inputs": sweep}
    slot = client.object_info()[graph[node]["class_type"]]["output_name"].index(output)
    graph["show"] = {"class_type": "PreviewImage", "inputs": {"images": [node, slot]}}
    shown = client.run(with_sources(graph, "show"))["outputs"]["show"]["images"][0]
    path.write_bytes(client.view(shown["filename"], shown["subfolder"], shown["type"]))


def with_sources(graph: dict[str, Any], name: str) -> dict[str, Any]:
    """The part of a graph that a node needs."""
    needed = {name: graph[name]}
    for value in graph[name]["inputs"].values():
        if isinstance(value, list):
            needed |= with_sources(graph, value[0])
    return needed
