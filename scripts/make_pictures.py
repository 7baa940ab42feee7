"""Make the pictures of the help pages and of docs/: real screenshots and real runs of a demo model.

    python scripts/make_pictures.py               all pictures
    python scripts/make_pictures.py --comfyui P   with an existing ComfyUI
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from browser import Frontend, browser, frontend
from host import HOST_DIR, ROOT, Host, link_packs
from inside import run_inside
from server import Client, comfyui

HELP = ROOT / "web" / "docs"
WORKFLOWS = ROOT / "workflows"
DEMO = ROOT / "scripts" / "demo_pack" / "workflows" / "FRDiff demo.json"
SAMPLER = 5
DONE = f"""() => app.graph.getNodeById({SAMPLER}).widgets.find((w) => w.name === 'frdiff_steps').element
  .shadowRoot.querySelector('.summary').textContent.includes('faster')"""
ADD_LOADER = """(sampler) => {
  const node = LiteGraph.createNode('FRDiffScheduleLoader')
  node.pos = [-400, 60]
  app.graph.add(node)
  node.widgets[0].value = 'shipped: demo_unet_50'
  node.setSize([340, node.size[1]])
  const target = app.graph.getNodeById(sampler)
  node.connect(0, target, target.inputs.findIndex((input) => input.name === 'schedule'))
  return node.id
}"""
PLOTTED = """(id) => app.graph.getNodeById(id).widgets.find((w) => w.name === 'frdiff_front').element.shadowRoot
  .querySelector('.summary').textContent.includes('demo_unet_50')"""
PLACE = """(id) => {
  const node = app.graph.getNodeById(id), box = app.canvas.canvas.getBoundingClientRect()
  const { scale, offset } = app.canvas.ds
  const x = box.x + (node.pos[0] + offset[0]) * scale, y = box.y + (node.pos[1] - 32 + offset[1]) * scale
  return { x: x - 6, y: y - 6, width: node.size[0] * scale + 12, height: (node.size[1] + 32) * scale + 12 }
}"""


def make(host: Host) -> None:
    """All pictures, from one ComfyUI."""
    base = HOST_DIR / "picture-base"
    shutil.rmtree(base, ignore_errors=True)
    link_packs(base / "custom_nodes")
    with comfyui(replace(host, base=base), True) as client, browser() as started:
        with frontend(started, client) as page:
            node_picture(page, HELP / "FRDiffKSampler.png")
        with frontend(started, client) as page:
            front_picture(page, HELP / "FRDiffScheduleLoader.png")
        plot_picture(client, "report", "plot", HELP / "FRDiffReport.png", {"steps": 30})
        plot_picture(client, "sweep", "plot", HELP / "FRDiffSweep.png", {"steps": 30})


def node_picture(page: Frontend, path: Path) -> None:
    """The sampler node after a run."""
    workflow = json.loads(DEMO.read_text())
    page.load(workflow)
    page.look_at(1.25, (-740, 80))
    page.run("() => app.queuePrompt(0)")
    page.wait(DONE, seconds=120)
    page.page.wait_for_timeout(1500)
    page.screenshot(path, clip=page.run(PLACE, SAMPLER))


def front_picture(page: Frontend, path: Path) -> None:
    """The loader node with the plot of a shipped file."""
    page.load(json.loads(DEMO.read_text()))
    node = page.run(ADD_LOADER, SAMPLER)
    page.look_at(1.25, (500, 80))
    page.wait(PLOTTED, node)
    page.page.wait_for_timeout(1500)
    page.screenshot(path, clip=page.run(PLACE, node))


def plot_picture(client: Client, node: str, output: str, path: Path, widgets: dict[str, Any]) -> None:
    """The plot that a node makes of a run of the demo model."""
    graph: dict[str, Any] = {
        "model": {"class_type": "FRDiffDemoModelLoader", "inputs": {"model": "unet"}},
        "prompt": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": "grinning face, 3d"}},
        "negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": ""}},
        "size": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 4}},
    }
    sampler = {
        "model": ["model", 0], "positive": ["prompt", 0], "negative": ["negative", 0], "latent_image": ["size", 0],
        "seed": 1, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0, **widgets,
    }  # fmt: skip
    graph["sampler"] = {"class_type": "FRDiffKSampler", "inputs": {**sampler, "speedup": 2.0}}
    graph["report"] = {"class_type": "FRDiffReport", "inputs": {"report": ["sampler", 1]}}
    sweep = {**sampler, "vae": ["model", 2], "dials": "1.5, 2, 3", "presets": "paper M=2", "repeats": 3}
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


if __name__ == "__main__":
    sys.exit(run_inside(__file__, "Make the pictures of the help pages.", make))
