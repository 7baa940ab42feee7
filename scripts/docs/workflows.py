"""Make workflows/ and subgraphs/: build each graph in the real frontend and let it save.

    python scripts/make.py workflows               all workflows with their pictures, and all blueprints
    python scripts/make.py workflows --comfyui P   with an existing ComfyUI

The graphs are data in workflow_graphs.py, calibration_graphs.py and blueprints.py. The frontend makes the nodes,
connects them and writes the file; the thumbnail is a card of thumbnails.py with the steps that the workflow plans.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from setup import HOST_DIR, ROOT
from setup.browser import Frontend, browser, frontend
from setup.host import Host, ensure_browser_tools, link_packs
from setup.inside import inside
from setup.server import comfyui

from . import thumbnails
from .blueprints import BLUEPRINTS
from .calibration_graphs import CALIBRATION_WORKFLOWS
from .workflow_graphs import WORKFLOWS, Graph

FOLDER, BLUEPRINT_FOLDER = ROOT / "workflows", ROOT / "subgraphs"
WINDOW = (1600, 1000)
BUILD = """async ([graph, name]) => {
  await app.loadGraphData({ last_node_id: 0, last_link_id: 0, nodes: [], links: [], version: 0.4 }, true, true, name)
  app.graph.id = crypto.randomUUID()
  const made = {}
  for (const [key, spec] of Object.entries(graph.nodes)) {
    const node = LiteGraph.createNode(spec.type)
    if (!node) throw new Error(`There is no node ${spec.type}.`)
    app.graph.add(node)
    made[key] = node
    node.pos = spec.place
    if (spec.title) node.title = spec.title
    for (const [name, value] of Object.entries(spec.widgets)) {
      const widget = name ? node.widgets.find((one) => one.name === name) : node.widgets[0]
      if (!widget) throw new Error(`${spec.type} has no widget ${name}.`)
      widget.value = value
    }
    if (spec.models.length) {
      node.properties.models = spec.models.map(([name, url, directory]) => ({ name, url, directory }))
    }
  }
  for (const link of graph.links) {
    const [[from, output], [to, input]] = link.split(" -> ").map((end) => end.split("."))
    const slot = made[from].outputs.findIndex((one) => one.name === output)
    const target = made[to].inputs.findIndex((one) => one.name === input)
    if (slot < 0 || target < 0) throw new Error(`There is nothing to connect for ${link}.`)
    made[from].connect(slot, made[to], target)
  }
  // Widgets and step maps have their places once the canvas has drawn them.
  await new Promise((done) => setTimeout(done, 1500))
  for (const [key, spec] of Object.entries(graph.nodes)) {
    const least = made[key].computeSize()
    const [width, height] = spec.size ?? least
    made[key].setSize([Math.max(width, least[0]), Math.max(height, least[1])])
  }
  app.canvas.ds.scale = 1
  app.canvas.ds.offset = [0, 0]
  return Object.fromEntries(Object.entries(made).map(([key, node]) => [key, node.id]))
}"""
# Makes one subgraph of all nodes, as the menu does, and gives it inputs and outputs.
INCLOSE = """async ([blueprint, ids, name]) => {
  const { subgraph, node } = app.graph.convertToSubgraph(new Set(app.graph.nodes))
  const find = (end) => {
    const [key, slot] = end.split(".")
    return [subgraph.getNodeById(ids[key]), slot]
  }
  subgraph.name = node.title = name
  for (const [input, ends] of Object.entries(blueprint.inputs)) {
    const slots = ends.map(find).map(([inner, slot]) => [inner.inputs.find((one) => one.name === slot), inner])
    const added = subgraph.addInput(input, String(slots[0][0].type))
    for (const [slot, inner] of slots) added.connect(slot, inner)
  }
  for (const [output, end] of Object.entries(blueprint.outputs)) {
    const [inner, slot] = find(end)
    const source = inner.outputs.find((one) => one.name === slot)
    subgraph.addOutput(output, String(source.type)).connect(source, inner)
  }
  // The frontend offers what it finds inside as well: the same seed, twice more.
  node.properties.proxyWidgets = (node.properties.proxyWidgets ?? []).filter(([id]) => id === "-1")
  app.graph.extra.BlueprintDescription = blueprint.description
  await new Promise((done) => setTimeout(done, 500))
  node.pos = [100, 100]
  node.setSize(node.computeSize())
}"""
KINDS = """() => app.graph.nodes.map((node) => node.widgets?.find((w) => w.name === "frdiff_steps"))
  .map((w) => [...(w?.element.shadowRoot.querySelector(".cells").children ?? [])].map((cell) => cell.dataset.kind))
  .filter((kinds) => kinds.length).sort((a, b) => b.includes("skip") - a.includes("skip"))[0] ?? []"""


def make(arguments: argparse.Namespace) -> int:
    """Build, save and picture every workflow; returns the exit code."""
    return inside(arguments.comfyui, _make, ensure_browser_tools)


def _make(host: Host) -> None:
    # Settings and workflows of the demo's user stay as they are.
    base = HOST_DIR / "workflow-base"
    shutil.rmtree(base, ignore_errors=True)
    link_packs(base / "custom_nodes")
    for folder in (FOLDER, BLUEPRINT_FOLDER):
        folder.mkdir(exist_ok=True)
    with comfyui(replace(host, base=base), True) as client, browser() as started:
        for name, graph in {**WORKFLOWS, **CALIBRATION_WORKFLOWS}.items():
            with frontend(started, client, size=WINDOW) as page:
                build(page, graph, name)
                save(page, FOLDER / f"{name}.json")
                picture(page, name)
        for name, blueprint in BLUEPRINTS.items():
            with frontend(started, client, size=WINDOW) as page:
                ids = build(page, blueprint.inside, name)
                page.run(INCLOSE, [asdict(blueprint), ids, name])
                save(page, BLUEPRINT_FOLDER / f"{name}.json")


def build(page: Frontend, graph: Graph, name: str) -> dict[str, int]:
    """Build a graph; the ids that its nodes got."""
    return page.run(BUILD, [asdict(graph), name])


def save(page: Frontend, path: Path) -> None:
    """Write the graph as the frontend saves it; a file that is made again keeps its ids."""
    saved = page.run("() => JSON.parse(JSON.stringify(app.graph.serialize({ sortNodes: true })))")
    text = json.dumps(saved, indent=1) + "\n"
    if path.is_file():
        for new, old in zip(ids_of(saved), ids_of(json.loads(path.read_text())), strict=False):
            text = text.replace(new, old)
    path.write_text(text)
    print(f"{path.name}: {len(saved['nodes'])} nodes")


def ids_of(workflow: dict[str, Any]) -> list[str]:
    """The ids of a workflow and of its subgraphs, which the frontend draws by chance."""
    return [workflow["id"], *(inner["id"] for inner in workflow.get("definitions", {}).get("subgraphs", []))]


def picture(page: Frontend, name: str) -> None:
    """A card with the steps that the workflow plans, as a thumbnail."""
    from PIL import Image

    kinds = page.run(KINDS)
    card = page.page.context.new_page()
    card.set_viewport_size(dict(zip(("width", "height"), thumbnails.SIZE, strict=True)))
    card.set_content(thumbnails.page(thumbnails.CARDS[name], kinds))
    shot = Image.open(io.BytesIO(card.screenshot()))
    shot.convert("RGB").save(FOLDER / f"{name}.jpg", quality=85)
    card.close()
