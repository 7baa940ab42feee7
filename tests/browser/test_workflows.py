"""The shared workflows open from the template browser and run, in a real browser."""

import json
import re
from pathlib import Path

import pytest
from stepmaps import DEMO, drop, outputs_of, queue

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parent.parent.parent
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
# One of each demo model; the schedule file that stands first is for this one.
ON_DIT = ("FRDiff in any graph", "FRDiff Auto-FR load")
PACK, DEMO_PACK = "comfyui-frdiff", "frdiff-demo-models"
DIALS = """(kind) => app.graph.nodes.filter((node) => node.type === kind).map(({ widgets }) => {
  const widget = (name) => widgets.find((one) => one.name === name)
  return [widget('speedup').value, widget('frdiff_steps').element.shadowRoot.querySelector('.summary').textContent]
})"""
SAVERS = "() => app.graph.nodes.filter((node) => node.type === 'SaveImage').map((node) => node.id)"
# Newer frontends have a space in it.
SEARCH = re.compile(r"Search ?\.\.\.")
SAMPLERS = ("FRDiffKSampler", "FRDiffKSamplerAdvanced", "FRDiffModelPatcher")

# What is calibrated later, or chosen by the model, cannot be planned yet.
NOT_PLANNED = {
    "FRDiff Auto-FR calibrate": "Nothing has been calibrated",
    "FRDiff Auto-FR load": "Which file fits is known when the node runs",
}
# Whether the table on a node has rows of these names.
TABLE = """([id, names]) => {
  const { element } = app.graph.getNodeById(id).widgets.find((w) => w.name === 'frdiff_result')
  const rows = [...element.shadowRoot.querySelectorAll('tr')].slice(1)
  return names.length > 0 && rows.map((row) => row.cells[0].textContent).join() === names.join()
}"""


def assert_complete(page, path):
    """All nodes of a workflow are there, and none is unknown."""
    page.wait("(count) => app.graph.nodes.length === count", len(json.loads(path.read_text())["nodes"]))
    page.page.wait_for_timeout(800)
    # A subgraph's type is registered with its workflow.
    unknown = "() => app.graph.nodes.map((node) => node.type).filter((type) => !LiteGraph.registered_node_types[type])"
    assert page.run(unknown) == []


def assert_saves(page, name):
    """What is open is a workflow, and the user's own once it is saved."""
    assert page.run("() => app.extensionManager.workflow.activeWorkflow.path").startswith("workflows/")
    page.run("() => void app.extensionManager.command.execute('Comfy.SaveWorkflow')")
    page.page.get_by_role("dialog").locator("input").first.wait_for(timeout=5000)
    page.page.keyboard.press("Enter")
    page.wait("() => app.extensionManager.workflow.activeWorkflow.isPersisted", seconds=10)
    # The folder of the first one may not be there yet.
    page.wait("async () => (await fetch('/api/userdata?dir=workflows&recurse=true')).ok", seconds=10)
    saved = page.client.json("/userdata?dir=workflows&recurse=true")
    (file,) = (file for file in saved if file.startswith(name))
    # Not as the frontend does it: while it closes what is open, some complain that nothing is.
    page.run("(file) => fetch(`/api/userdata/${encodeURIComponent('workflows/' + file)}`, { method: 'DELETE' })", file)


@pytest.mark.parametrize("path", [*WORKFLOWS, DEMO], ids=lambda path: path.stem)
def test_opens_from_the_templates(page, path, shoot):
    templates = page.client.json("/workflow_templates")
    pack = DEMO_PACK if path == DEMO else PACK
    assert path.stem in templates[pack]
    page.run("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.page.get_by_placeholder(SEARCH).first.fill(path.stem)
    card = page.page.get_by_test_id(f"template-workflow-{path.stem}")
    card.first.wait_for(timeout=20000)
    # The frontend loads pictures of cards late, and those that a search found not at all: ask for it as a card does.
    thumbnail = "(name) => new Promise((done) => { const image = new Image(); image.onload = () => done(image.width);"
    thumbnail += " image.onerror = () => done(0); image.src = `/api/workflow_templates/%s/${name}.jpg` })"
    assert path == DEMO or page.run(thumbnail % pack, path.stem) > 0
    shoot(page, "templates")
    card.first.click()
    assert_complete(page, path)
    for kind in SAMPLERS:
        # The server answers when it can.
        page.wait(f"(kind) => ({DIALS})(kind).every(([, summary]) => summary)", kind)
        for dial, summary in page.run(DIALS, kind):
            planned = NOT_PLANNED.get(path.stem, "planned: ")
            assert summary.startswith("off: " if dial == 1 else planned) and "example" not in summary
    page.page.keyboard.press("Escape")
    shoot(page, "open")
    assert_saves(page, path.stem)
    if path == DEMO:
        queue(page)
        assert all(outputs_of(page)[str(node)] for node in page.run(SAVERS))


@pytest.mark.parametrize("path", [*WORKFLOWS, DEMO], ids=lambda path: path.stem)
def test_opens_by_drag_and_drop(page, path):
    drop(page, path.name, path.read_text())
    assert_complete(page, path)


def on_demo_model(prompt, model):
    """The same graph on a demo model, in its size and with few steps."""
    for node in prompt.values():
        inputs = node["inputs"]
        if node["class_type"] == "CheckpointLoaderSimple":
            node.update(class_type="FRDiffDemoModelLoader", inputs={"model": model})
        elif node["class_type"] in ("EmptyLatentImage", "EmptySD3LatentImage"):
            node.update(class_type="EmptyLatentImage", inputs={"width": 128, "height": 128, "batch_size": 1})
        if "steps" in inputs:
            inputs["steps"] = 12
        if "effort" in inputs:
            inputs["effort"] = "quick"
    return prompt


@pytest.mark.parametrize("renderer", ["canvas"], indirect=True)
@pytest.mark.parametrize("path", [p for p in WORKFLOWS if "Wan" not in p.stem], ids=lambda path: path.stem)
def test_runs_to_a_picture_on_a_demo_model(page, path, renderer):
    page.load(json.loads(path.read_text()))
    prompt = page.run("async () => (await app.graphToPrompt()).output")
    entry = page.client.run(on_demo_model(prompt, "dit" if path.stem in ON_DIT else "unet"))
    images = [image for output in entry["outputs"].values() for image in output.get("images", [])]
    assert images
    for image in images:
        assert page.client.view(image["filename"], image["subfolder"], image["type"]).startswith(b"\x89PNG")


def test_a_sweep_shows_what_it_has_when_it_is_cancelled(page, shoot):
    """What is done stays on the node after an interrupt."""
    path = ROOT / "workflows" / "FRDiff speed sweep.json"
    workflow = json.loads(path.read_text())
    for node in workflow["nodes"]:
        if node["type"] == "CheckpointLoaderSimple":
            node.update(type="FRDiffDemoModelLoader", widgets_values=["unet"])
        elif node["type"] == "EmptyLatentImage":
            node["widgets_values"] = [128, 128, 1]
    page.load(workflow)
    sweep = page.run("() => app.graph.nodes.find((node) => node.type === 'FRDiffSweep').id")
    page.run("() => app.queuePrompt(0)")
    told = "(id) => app.nodeOutputs[id]?.images?.length && app.nodeOutputs[id].text[0].includes('dial 1.5')"
    page.wait(told, sweep, 60)
    page.client.post("/interrupt", b"{}")
    page.wait("() => app.ui.lastQueueSize === 0", seconds=60)
    page.page.wait_for_timeout(1000)
    shown = page.run("(id) => app.nodeOutputs[id]", sweep)
    assert len(shown["images"]) == 1 and "plain" in shown["text"][0]
    page.wait(TABLE, [sweep, [row["run"] for row in shown["frdiff_rows"]]], 5)
    shoot(page, "cancelled")


@pytest.mark.parametrize("renderer", ["canvas"], indirect=True)
def test_the_help_page_shows_its_picture(page, shoot):
    """The help of a node opens from the selected node, with the page and the picture of the pack."""
    page.run(
        "() => { app.graph.clear(); const node = LiteGraph.createNode('FRDiffReport'); node.pos = [400, 300];"
        " app.graph.add(node) }"
    )
    page.look_at()
    page.run("() => app.canvas.selectNode(app.graph.nodes[0])")
    page.page.wait_for_timeout(500)
    page.page.get_by_test_id("info-button").first.click()
    page.page.get_by_text("Shows what a run did").first.wait_for(timeout=10000)
    page.wait(
        "() => [...document.images].some((image) => image.src.includes('FRDiffReport.png') && image.naturalWidth > 0)",
        seconds=10,
    )
    shoot(page, "help")
