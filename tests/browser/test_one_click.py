"""From a plain sampler to a faster one and back, in a real browser: menu, toolbox, keyboard and whole workflows."""

import io
import json
import re
import time

import pytest
from PIL import Image, ImageChops, ImageStat
from stepmaps import MAP, REPORT, SAMPLER, demo, outputs_of, queue, summary, wait_for_summary

from setup import ROOT

pytestmark = pytest.mark.browser

FASTER, PLAIN = "Make it faster with FRDiff", "Back to the plain sampler"
KEYS = {"faster": "Alt+Shift+F", "plain": "Alt+Shift+P"}
# Nodes by their ids: class, widgets, and where each input comes from.
GRAPH = """() => Object.fromEntries((window.frdiffTestGraph?.() ?? app.graph).nodes.map((node) => [node.id, {
  type: node.type, title: node.title, pos: [...node.pos].map(Math.round), mode: node.mode, color: node.color,
  widgets: Object.fromEntries((node.widgets ?? []).filter((w) => w.serialize !== false).map((w) => [w.name, w.value])),
  from: Object.fromEntries(node.inputs.filter((input) => input.link != null).map((input) => {
    const link = node.graph.getLink?.(input.link) ?? node.graph.links[input.link]
    return [input.name, [String(link.origin_id), link.origin_slot]]
  })) }]))"""
PROMPT = "async () => (await app.graphToPrompt()).output"
PLACE = """(id) => {
  const node = app.graph.getNodeById(id), { scale, offset } = app.canvas.ds
  const box = app.canvas.canvas.getBoundingClientRect()
  return [box.x + (node.pos[0] + 60 + offset[0]) * scale, box.y + (node.pos[1] - 12 + offset[1]) * scale]
}"""
SEED = 7
MADE = "() => Number(app.graph.nodes.find((node) => node.type === 'FRDiffKSampler').id)"
SAVED = f"(id) => {MAP.format(id='id')}.shadowRoot.querySelector('.time').textContent"
# Whatever the default workflow loads its model with, the demo's model stands for it, at what templates say to choose.
ON_DEMO = """() => {
  const all = [...app.graph.nodes], slot = (node, name) => node.inputs.findIndex((input) => input.name === name)
  const set = (node, values) => Object.entries(values).forEach(([name, value]) => {
    node.widgets.find((widget) => widget.name === name).value = value
  })
  const loader = LiteGraph.createNode('FRDiffDemoModelLoader')
  loader.pos = [-400, 200]
  app.graph.add(loader)
  const sampler = all.find((node) => node.type === 'KSampler')
  for (const [name, text] of [['positive', 'grinning face, 3d'], ['negative', '']]) {
    const prompt = sampler.getInputNode(slot(sampler, name))
    set(prompt, { text })
    loader.connect(1, prompt, slot(prompt, 'clip'))
  }
  loader.connect(0, sampler, slot(sampler, 'model'))
  const decode = all.find((node) => node.type === 'VAEDecode')
  loader.connect(2, decode, slot(decode, 'vae'))
  set(sampler.getInputNode(slot(sampler, 'latent_image')), { width: 128, height: 128 })
  set(sampler, { seed: %d, control_after_generate: 'fixed', steps: 20, cfg: 4, sampler_name: 'euler',
    scheduler: 'normal' })
  for (const node of all) if (/Loader|^ModelSampling/.test(node.type)) app.graph.remove(node)
}""".replace("%d", str(SEED))
# Samplers of three kinds besides KSampler, on the demo's model: one has a faster node, two take the patcher.
OTHERS = """() => {
  const [loader] = app.graph.nodes.filter((node) => node.type === 'FRDiffDemoModelLoader')
  const make = (type, x, y) => {
    const node = LiteGraph.createNode(type)
    node.pos = [x, y]
    app.graph.add(node)
    return node
  }
  const into = (source, slot, target, name) =>
    source.connect(slot, target, target.inputs.findIndex((input) => input.name === name))
  const advanced = make('KSamplerAdvanced', 1700, 0), custom = make('SamplerCustom', 1700, 500)
  const guider = make('CFGGuider', 1400, 900), last = make('SamplerCustomAdvanced', 1700, 900)
  for (const node of [advanced, custom, guider]) into(loader, 0, node, 'model')
  into(guider, 0, last, 'guider')
  return [advanced, custom, guider].map((node) => String(node.id))
}"""


def plain_demo(steps=12):
    """The demo's workflow with the host's KSampler in it."""
    workflow = demo(steps)
    workflow["nodes"] = [node for node in workflow["nodes"] if node["id"] != REPORT]
    sampler = next(node for node in workflow["nodes"] if node["id"] == SAMPLER)
    sampler.update(type="KSampler", widgets_values=sampler["widgets_values"][:7])
    sampler["inputs"] = [slot for slot in sampler["inputs"] if slot["name"] not in ("schedule", "speedup")]
    sampler["outputs"] = sampler["outputs"][:1]
    sampler["properties"] = {}
    workflow["links"] = [link for link in workflow["links"] if link[3] != REPORT]
    return workflow


def load(page, workflow):
    page.load(workflow)
    page.look_at(0.6, (100, 200))
    take_note(page)


def take_note(page):
    """Click on the empty canvas: the frontend looks at what has changed. Two clicks at once would search for a node.

    For a moment after that newer frontends count further changes as a part of the same.
    """
    page.page.wait_for_timeout(600)
    page.page.mouse.click(700, 850)
    page.page.wait_for_timeout(200)


def graph(page):
    return page.run(GRAPH)


def of_type(nodes, kind):
    return [node for node in nodes.values() if node["type"] == kind]


def command(page, name):
    page.run("(id) => app.extensionManager.command.execute(id)", f"FRDiff.{name}")
    # Until then it is one step that is not done.
    page.page.wait_for_timeout(800)


def undo(page):
    page.run("() => app.extensionManager.command.execute('Comfy.Undo')")
    page.page.wait_for_timeout(800)


def choose(page, node, words, shoot):
    """Choose from the node's menu, or where a frontend's menu is its own alone, from the toolbox above the node."""
    place = page.run(PLACE, node)
    page.page.mouse.click(*place)
    page.page.wait_for_timeout(500)
    page.page.mouse.click(*place, button="right")
    page.page.wait_for_timeout(700)
    shoot(page, "menu")
    entry = page.page.get_by_text(words, exact=True)
    if entry.count():
        entry.first.click()
    else:
        page.page.keyboard.press("Escape")
        icon = {FASTER: "pi-bolt", PLAIN: "pi-undo"}[words]
        page.page.locator(f".selection-toolbox button:has(.{icon})").click()
    page.page.wait_for_timeout(800)


def assert_is_kept(before, after):
    """What a sampler had it still has, whatever is new."""
    for field in ("pos", "mode", "color", "from"):
        assert after[field] == before[field]
    assert {name: after["widgets"][name] for name in before["widgets"]} == before["widgets"]


def test_two_clicks_make_a_picture_faster(page, shoot):
    load(page, plain_demo())
    before = graph(page)
    prompt = page.run(PROMPT)
    choose(page, SAMPLER, FASTER, shoot)
    undo(page)
    assert graph(page) == before and page.run(PROMPT) == prompt
    choose(page, SAMPLER, FASTER, shoot)
    (sampler,) = of_type(graph(page), "FRDiffKSampler")
    assert_is_kept(before[str(SAMPLER)], sampler)
    assert sampler["widgets"]["speedup"] == 2.0 and not of_type(graph(page), "KSampler")
    node = page.run("() => Number(app.graph.nodes.find((node) => node.type === 'FRDiffKSampler').id)")
    wait_for_summary(page, "planned: 6 of 12 steps computed", node)
    queue(page)
    wait_for_summary(page, "faster", node)
    assert summary(page, node).startswith("6 of 12 steps computed, ")
    shoot(page, "done")


def open_default_workflow(page):
    """ComfyUI's default workflow as a newcomer has it open, on the demo's model in its own size."""
    page.run("() => app.extensionManager.command.execute('Comfy.LoadDefaultWorkflow')")
    page.wait("() => app.graph.nodes.some((node) => node.type === 'KSampler')")
    page.run(ON_DEMO)
    page.look_at(0.6, (100, 200))
    page.page.mouse.click(700, 850)
    page.errors.clear()
    return page.run("() => Number(app.graph.nodes.find((node) => node.type === 'KSampler').id)")


def run_by_hand(page):
    """Press Run, and wait for the picture."""
    page.before = set(page.client.json("/history?max_items=1"))
    page.page.get_by_test_id("queue-button").first.click()
    (image,) = next(out["images"] for out in outputs_of(page).values() if "images" in out)
    png = page.client.view(image["filename"], image["subfolder"], image["type"])
    return Image.open(io.BytesIO(png)).convert("RGB")


def test_a_newcomer_gets_the_same_picture_faster_in_two_clicks(page, shoot):
    """One in the menu, one on Run. What it took is beside the screenshots: on a busy machine it says little."""
    sampler = open_default_workflow(page)
    plain = run_by_hand(page)
    began = time.perf_counter()
    choose(page, sampler, FASTER, shoot)
    faster = run_by_hand(page)
    seconds = time.perf_counter() - began
    (node,) = of_type(graph(page), "FRDiffKSampler")
    wait_for_summary(page, "faster", page.run(MADE))
    assert summary(page, page.run(MADE)).startswith("10 of 20 steps computed, ")
    assert re.fullmatch(r"[\d.]+ s instead of [\d.]+ s", page.run(SAVED, page.run(MADE)))
    shoot(page, "picture")
    took = ROOT / "output" / "browser" / "newcomer.json"
    took.write_text(json.dumps({"seconds_from_the_first_click_to_the_picture": seconds}))
    # The seed stays, so that it is the same picture: nearer than half of its steps would come, and not another seed's.
    difference = ImageStat.Stat(ImageChops.difference(plain, faster)).mean
    assert max(difference) < 12 and node["widgets"]["seed"] == SEED


def test_back_from_the_menu(page, shoot):
    load(page, demo(12))
    before = graph(page)[str(SAMPLER)]
    choose(page, SAMPLER, PLAIN, shoot)
    (sampler,) = of_type(graph(page), "KSampler")
    assert sampler["from"] == before["from"]
    assert sampler["widgets"] == {n: v for n, v in before["widgets"].items() if n != "speedup"}
    undo(page)
    assert graph(page)[str(SAMPLER)] == before


def test_keys_change_all_that_is_selected_in_one_step(page):
    load(page, plain_demo())
    page.run(
        "(id) => { const old = app.graph.getNodeById(id), node = old.clone(); node.pos = [old.pos[0], 900];"
        " node.title = 'mine'; node.color = '#223'; app.graph.add(node) }", SAMPLER,
    )
    take_note(page)
    before = graph(page)
    page.run("() => app.canvas.selectItems(app.graph.nodes.filter((node) => node.type === 'KSampler'))")
    page.page.keyboard.press(KEYS["faster"])
    page.page.wait_for_timeout(800)
    made = of_type(graph(page), "FRDiffKSampler")
    assert len(made) == 2 and sorted(node["title"] for node in made) == ["FRDiff KSampler", "mine"]
    mine = next(node for node in made if node["title"] == "mine")
    assert mine["color"] == "#223" and mine["pos"][1] == 900
    # They are selected now: the same hand takes them back.
    page.page.keyboard.press(KEYS["plain"])
    page.page.wait_for_timeout(800)
    assert len(of_type(graph(page), "KSampler")) == 2
    undo(page)
    undo(page)
    assert graph(page) == before


def test_a_whole_workflow_with_samplers_of_every_kind(page, shoot):
    load(page, plain_demo())
    targets = page.run(OTHERS)
    take_note(page)
    before = graph(page)
    command(page, "MakeFasterAll")
    nodes = graph(page)
    advanced, *patched = targets
    assert len(of_type(nodes, "FRDiffKSampler")) == 1 and len(of_type(nodes, "FRDiffModelPatcher")) == 2
    assert nodes[advanced]["type"] == "FRDiffKSamplerAdvanced" and nodes[advanced]["widgets"]["speedup"] == 2.0
    assert_is_kept(before[advanced], nodes[advanced])
    for target in patched:
        source, slot = nodes[target]["from"]["model"]
        assert nodes[source]["type"] == "FRDiffModelPatcher" and slot == 0
        assert nodes[source]["from"]["model"] == before[target]["from"]["model"]
    shoot(page, "patched")
    # What is faster already is left alone.
    command(page, "MakeFasterAll")
    assert graph(page) == nodes
    command(page, "MakePlainAll")
    after = graph(page)
    assert not of_type(after, "FRDiffModelPatcher") and len(of_type(after, "KSampler")) == 1
    assert all(after[target] == before[target] for target in targets)
    undo(page)
    undo(page)
    assert graph(page) == before


def test_a_patcher_of_several_samplers_stays_with_the_others(page):
    load(page, plain_demo())
    _, custom, guider = page.run(OTHERS)
    page.run(
        """([custom, guider]) => {
  const patcher = LiteGraph.createNode('FRDiffModelPatcher')
  app.graph.add(patcher)
  app.graph.nodes.find((node) => node.type === 'FRDiffDemoModelLoader').connect(0, patcher, 0)
  for (const node of [custom, guider].map((id) => app.graph.getNodeById(id))) {
    patcher.connect(0, node, node.inputs.findIndex((input) => input.name === 'model'))
  }
}""",
        [custom, guider],
    )
    take_note(page)
    before = graph(page)
    (patcher,) = (int(name) for name, node in before.items() if node["type"] == "FRDiffModelPatcher")
    page.run("(id) => app.canvas.selectItems([app.graph.getNodeById(id)])", custom)
    page.page.keyboard.press(KEYS["plain"])
    page.page.wait_for_timeout(800)
    after = graph(page)
    assert after[custom]["from"]["model"] == before[str(patcher)]["from"]["model"]
    assert after[guider] == before[guider] and after[str(patcher)] == before[str(patcher)]
    command(page, "MakePlainAll")
    assert not of_type(graph(page), "FRDiffModelPatcher")
    assert graph(page)[guider]["from"]["model"] == before[str(patcher)]["from"]["model"]


def test_a_primitive_keeps_its_value(page):
    load(page, plain_demo())
    page.run(
        """(id) => {
  const primitive = LiteGraph.createNode('PrimitiveNode'), node = app.graph.getNodeById(id)
  app.graph.add(primitive)
  primitive.connect(0, node, node.inputs.findIndex((input) => input.name === 'seed'))
  primitive.widgets[0].value = 123
  primitive.widgets[1].value = 'increment'
}""",
        SAMPLER,
    )
    take_note(page)
    primitive = "() => app.graph.nodes.find((n) => n.type === 'PrimitiveNode').widgets.map((w) => w.value)"
    values = page.run(primitive)
    assert values[:2] == [123, "increment"]
    for name, kind in (("MakeFasterAll", "FRDiffKSampler"), ("MakePlainAll", "KSampler")):
        command(page, name)
        (sent,) = (node["inputs"] for node in page.run(PROMPT).values() if node["class_type"] == kind)
        assert sent["seed"] == 123 and page.run(primitive) == values


def test_what_is_behind_reroutes_is_found(page):
    load(page, plain_demo())
    _, _, guider = page.run(OTHERS)
    page.run(
        """(id) => {
  const guider = app.graph.getNodeById(id), reroute = LiteGraph.createNode('Reroute')
  const last = app.graph.nodes.find((node) => node.type === 'SamplerCustomAdvanced')
  app.graph.add(reroute)
  guider.connect(0, reroute, 0)
  reroute.connect(0, last, last.inputs.findIndex((input) => input.name === 'guider'))
  for (const node of [...app.graph.nodes]) {
    if (['KSampler', 'KSamplerAdvanced', 'SamplerCustom'].includes(node.type)) app.graph.remove(node)
  }
}""",
        guider,
    )
    take_note(page)
    before = graph(page)
    command(page, "MakeFasterAll")
    nodes = graph(page)
    (source, _) = nodes[guider]["from"]["model"]
    assert nodes[source]["type"] == "FRDiffModelPatcher" and len(nodes) == len(before) + 1
    command(page, "MakePlainAll")
    assert graph(page) == before


def test_samplers_in_subgraphs_are_changed_too(page):
    load(page, plain_demo())
    page.run("(id) => { app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)])) }", SAMPLER)
    # As a user does who wants the seed on the subgraph's own node.
    page.run(
        "async () => { const holder = app.graph.nodes.find((one) => one.subgraph), [{ id }] = holder.subgraph.nodes;"
        " holder.properties.proxyWidgets = [[String(id), 'seed']];"
        " const saved = app.graph.serialize(); for (const node of saved.nodes)"
        " if (node.properties?.proxyWidgets) delete node.widgets_values; await app.loadGraphData(saved) }"
    )
    page.page.wait_for_timeout(800)
    page.errors.clear()
    promoted = "() => app.graph.nodes.find((one) => one.subgraph).widgets.map((one) => one.value)"
    values = page.run(promoted)
    assert values
    before = next(n for n in page.run(PROMPT).values() if n["class_type"] == "KSampler")["inputs"]
    command(page, "MakeFasterAll")
    after = next(n for n in page.run(PROMPT).values() if n["class_type"] == "FRDiffKSampler")["inputs"]
    assert {name: after[name] for name in before} == before and after["speedup"] == 2.0
    assert page.run(promoted) == values


def test_nothing_to_change_is_a_sentence(page):
    load(page, demo(12))
    command(page, "MakeFasterAll")
    page.page.get_by_text("There is no plain sampler here").first.wait_for(timeout=5000)


def test_a_bug_report_has_what_helps_and_nothing_private(page):
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    load(page, demo(12))
    wait_for_summary(page, "planned")
    queue(page)
    wait_for_summary(page, "faster")
    command(page, "CopyReport")
    page.page.get_by_text("Copied: reports").first.wait_for(timeout=5000)
    text = page.run("() => navigator.clipboard.readText()")
    told = json.loads(text)
    assert {"frdiff", "comfyui", "python", "torch", "device", "frontend", "renderer"} <= set(told["versions"])
    assert all(told["versions"].values())
    (run,) = told["runs"]
    assert run["type"] == "FRDiffKSampler" and run["model"] and run["network"]
    assert len(run["report"]["records"]) == 12 and run["report"]["counts"]["full"] == 6
    (sampler,) = [node for node in told["workflow"] if node["type"] == "FRDiffKSampler"]
    assert sampler["widgets"]["sampler_name"] == "euler" and sampler["widgets"]["steps"] == 12
    # The prompt, the prefix of saved files, and this machine's folders.
    assert not any(word in text for word in ("grinning", "frdiff-demo/", "/root", "/home", "custom_nodes"))
