"""The subgraph blueprint comes out of the node library and runs, in a real browser."""

import json

import pytest
from stepmaps import DEMO

pytestmark = pytest.mark.browser

NAME = "FRDiff beside KSampler"
# Connects the subgraph to what the demo's sampler is connected to, and its pictures to a preview.
CONNECT = """() => {
  const node = app.graph.nodes.find((one) => one.subgraph), sampler = app.graph.getNodeById(5)
  const sourceOf = (name) => {
    const { link } = sampler.inputs.find((input) => input.name === name)
    const { origin_id: id, origin_slot: slot } = app.graph.getLink?.(link) ?? app.graph.links[link]
    return [app.graph.getNodeById(id), slot]
  }
  const to = (name) => node.inputs.findIndex((input) => input.name === name)
  for (const name of ["model", "positive", "negative", "latent_image"]) {
    const [source, slot] = sourceOf(name)
    source.connect(slot, node, to(name))
  }
  const [loader] = sourceOf("model")
  loader.connect(loader.outputs.findIndex((output) => output.type === "VAE"), node, to("vae"))
  const show = LiteGraph.createNode("PreviewImage"), text = LiteGraph.createNode("PreviewAny")
  app.graph.add(show)
  app.graph.add(text)
  node.connect(node.outputs.findIndex((output) => output.name === "difference"), show, 0)
  node.connect(node.outputs.findIndex((output) => output.name === "text"), text, 0)
  return [show.id, text.id]
}"""


def test_the_blueprint_comes_from_the_library_and_runs(page, shoot):
    known = page.client.json("/global_subgraphs")
    assert NAME in [entry["name"] for entry in known.values()]
    page.load(json.loads(DEMO.read_text()))
    page.look_at(scale=0.6, offset=(100, 900))
    page.page.mouse.move(600, 250)
    page.run("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    # The box of the node search has the keyboard in every frontend.
    page.wait("() => document.activeElement?.tagName === 'INPUT'", seconds=10)
    page.page.keyboard.type(NAME)
    page.page.get_by_text(NAME).first.wait_for(timeout=10000)
    page.page.wait_for_timeout(800)
    shoot(page, "library")
    page.page.keyboard.press("Enter")
    page.page.wait_for_timeout(1500)
    # Newer frontends let the node follow the mouse until a click.
    page.page.mouse.click(700, 150)
    page.wait("() => app.graph.nodes.some((node) => node.subgraph)", seconds=15)
    page.page.wait_for_timeout(500)
    shoot(page, "placed")
    widgets = page.run("() => app.graph.nodes.find((node) => node.subgraph).widgets.map((w) => w.name)")
    assert widgets == ["seed", "steps", "cfg", "sampler_name", "scheduler", "denoise", "speedup"]
    show, text = page.run(CONNECT)
    page.run(
        "() => { const node = app.graph.nodes.find((one) => one.subgraph);"
        " node.widgets.find((w) => w.name === 'steps').value = 12 }"
    )
    prompt = page.run("async () => (await app.graphToPrompt()).output")
    steps = [n["inputs"]["steps"] for key, n in prompt.items() if ":" in key and "steps" in n["inputs"]]
    assert steps == [12, 12]
    page.run("() => app.queuePrompt(0)")
    page.wait("([id]) => app.nodeOutputs[id]?.images?.length", [show], 90)
    page.wait("() => app.ui.lastQueueSize === 0", seconds=60)
    page.page.wait_for_timeout(500)
    shown = page.run("([id]) => JSON.stringify(app.nodeOutputs[id])", [text])
    assert "PSNR" in shown and "latent error" in shown
    shoot(page, "run")
