"""What a node shows is its own and of now: schedules, modes, cleared workflows, times, subgraphs, in a real browser."""

import re

import pytest
from stepmaps import MAP, REPORT, SAMPLER, demo, queue, report_of, summary, turn, wait_for_summary

pytestmark = pytest.mark.browser

DIAL = """(id) => {
  const node = app.graph.getNodeById(id), widget = node.widgets.find((w) => w.name === 'speedup')
  const rows = [...document.querySelectorAll(`[data-node-id="${id}"] .lg-node-widget`)]
  const row = rows.find((one) => one.textContent.trim().startsWith('speedup'))
  return { value: widget.value, greyed: widget.disabled === true && (!row || row.inert), label: widget.label,
    saved: node.serialize().widgets_values[node.widgets.indexOf(widget)] }
}"""
CONNECT = """([type, values]) => {
  const node = LiteGraph.createNode(type), sampler = app.graph.getNodeById(%d)
  node.pos = [50, 500]
  app.graph.add(node)
  for (const [name, value] of Object.entries(values)) node.widgets.find((w) => w.name === name).value = value
  node.connect(0, sampler, sampler.inputs.findIndex((input) => input.name === 'schedule'))
  return Number(node.id)
}""".replace("%d", str(SAMPLER))
CUT = """(id) => {
  const node = app.graph.getNodeById(id)
  node.disconnectInput(node.inputs.findIndex((input) => input.name === 'schedule'))
}"""
SENT = "async (id) => (await app.graphToPrompt()).output[id].inputs.speedup"
PART = f"([id, part]) => {MAP.format(id='id')}.shadowRoot.querySelector(part).textContent"
INTO_SUBGRAPH = "(id) => { app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)])) }"
# Whether the plan that the map in the subgraph shows begins so.
INNER_PLAN = """(words) => app.graph.nodes.find((node) => node.subgraph).subgraph.nodes[0].widgets
  .find((w) => w.name === 'frdiff_steps').element.shadowRoot.querySelector('.summary').textContent.startsWith(words)"""
# Whether the server has forgotten what this page ran under a workflow's id.
KNOWS_NOTHING_OF = """async (workflow) => {
  const { api } = await import('/scripts/api.js')
  const known = await (await api.fetchApi(`/frdiff/runs?client=${api.clientId}`)).json()
  return !known.some((run) => run.workflow === workflow)
}"""
# What a page asks the pack's widgets and the graph for, while nobody does anything.
COUNT = """() => {
  let looks = 0
  const { graph } = app, get = graph.getNodeById
  const widgets = app.graph.nodes.flatMap((node) => node.widgets ?? []).filter((w) => w.name === 'steps')
  for (const widget of widgets) {
    const serialize = widget.serialize
    Object.defineProperty(widget, 'serialize', { configurable: true, get: () => (looks++, serialize) })
  }
  return new Promise((done) => setTimeout(() => {
    for (const widget of widgets) delete widget.serialize
    done(looks)
  }, 2000))
}"""


def mode(page, name):
    page.run("(id) => app.canvas.selectNode(app.graph.getNodeById(id))", SAMPLER)
    page.run("(id) => app.extensionManager.command.execute(id)", f"Comfy.Canvas.ToggleSelectedNodes.{name}")


def dial(page, value):
    page.wait(f"([id, value]) => ({DIAL})(id).value === value", [SAMPLER, value], 10)
    page.page.wait_for_timeout(300)
    return page.run(DIAL, SAMPLER)


def test_a_schedule_greys_the_dial_and_lends_its_value(page, renderer, shoot):
    page.load(demo(20))
    wait_for_summary(page, "planned")
    turn(page, "speedup", 2.5)
    loader = page.run(CONNECT, ["FRDiffScheduleLoader", {"speedup": 3.3}])
    shown = dial(page, 3.3)
    shoot(page, "greyed")
    assert shown["greyed"] and shown["saved"] == 2.5 and page.run(SENT, str(SAMPLER)) == 2.5
    # The canvas draws no value on a greyed widget.
    assert renderer["Comfy.VueNodes.Enabled"] or shown["label"] == "speedup: 3.3"
    turn(page, "speedup", 4.0, loader)
    assert dial(page, 4.0)["saved"] == 2.5
    saved = page.run("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    page.load(saved)
    assert dial(page, 4.0)["saved"] == 2.5
    page.run(CUT, SAMPLER)
    free = dial(page, 2.5)
    assert not free["greyed"] and free["label"] == "speedup"
    wait_for_summary(page, "planned: 8 of 20 steps computed", seconds=10)


def test_a_schedule_without_a_dial_says_what_it_plans(page):
    page.load(demo(24))
    wait_for_summary(page, "planned")
    page.run(CONNECT, ["FRDiffSchedule", {"preset": "paper M=3"}])
    assert dial(page, 3.0)["greyed"]


def test_a_node_that_does_not_run_says_so(page, shoot):
    page.load(demo(12))
    wait_for_summary(page, "planned")
    queue(page)
    wait_for_summary(page, "MB kept")
    for name, words in (("Bypass", "Bypassed: "), ("Mute", "Muted: ")):
        mode(page, name)
        wait_for_summary(page, words, seconds=10)
        assert "faster" not in summary(page)
        shoot(page, name)
        mode(page, name)
        wait_for_summary(page, "planned: 6 of 12", seconds=10)


def test_nodes_after_a_clear_do_not_show_what_others_did(page):
    page.run("() => { window.confirm = () => true }")
    page.load(demo(20), "cleared")
    wait_for_summary(page, "planned")
    queue(page)
    wait_for_summary(page, "faster")
    page.page.wait_for_timeout(1500)
    page.open()
    page.errors.clear()
    wait_for_summary(page, "faster")
    page.run("() => { window.confirm = () => true }")
    workflow = page.run("() => app.graph.id")
    page.run("() => app.extensionManager.command.execute('Comfy.ClearWorkflow')")
    page.wait("() => app.graph.nodes.length === 0")
    page.wait(KNOWS_NOTHING_OF, workflow)
    # The same ids, and the same workflow: nodes of the same kinds stand where others stood.
    page.run(
        "([workflow, sampler, report]) => { app.graph.id = workflow;"
        " for (const [id, type] of [[sampler, 'FRDiffKSampler'], [report, 'FRDiffReport']]) {"
        " const node = LiteGraph.createNode(type); node.id = id; node.pos = [id * 100, 100]; app.graph.add(node) } }",
        [workflow, SAMPLER, REPORT],
    )
    wait_for_summary(page, "planned: 10 of 20")
    page.page.wait_for_timeout(800)
    assert "faster" not in summary(page)
    text = "(id) => app.graph.getNodeById(id).widgets.find((w) => w.name === 'frdiff_text').element.shadowRoot"
    assert page.run(f"{text}.querySelector('.text').textContent", REPORT) == ""


def test_seconds_are_told_while_it_runs_and_afterwards(page, shoot):
    page.load(demo(60))
    turn(page, "speedup", 3.0)
    wait_for_summary(page, "planned: 20 of 60")
    page.look_at(0.9, (-200, 100))
    queue(page)
    page.wait(f"([id, part]) => /about \\d+ s left/.test(({PART})([id, part]))", [SAMPLER, ".time"], 60)
    bar = page.run(f"(id) => {MAP.format(id='id')}.shadowRoot.querySelector('.bar').outerHTML", SAMPLER)
    assert 'role="progressbar"' in bar and "data-shown" in bar and "linear" in bar
    shoot(page, "left")
    wait_for_summary(page, "faster")
    report = report_of(page)
    told = page.run(PART, [SAMPLER, ".time"])
    spent, plain = map(float, re.fullmatch(r"([\d.]+) s instead of ([\d.]+) s", told).groups())
    assert spent == pytest.approx(report["seconds"], abs=0.06)
    assert plain == pytest.approx(report["seconds"] * report["speedup"], abs=0.06)
    shoot(page, "saved")
    # What a plan would take is not known.
    turn(page, "speedup", 2.0)
    wait_for_summary(page, "planned")
    assert page.run(PART, [SAMPLER, ".time"]) == ""


def test_nothing_is_looked_at_while_nothing_changes(page):
    page.load(demo(12))
    wait_for_summary(page, "planned")
    page.page.wait_for_timeout(1000)
    assert page.run(COUNT) == 0


def test_dial_and_map_can_stand_on_a_subgraph(page, shoot):
    page.load(demo(20))
    wait_for_summary(page, "planned")
    page.run(INTO_SUBGRAPH, SAMPLER)
    page.run(
        "() => { const node = app.graph.nodes.find((one) => one.subgraph), [{ id }] = node.subgraph.nodes;"
        " node.properties.proxyWidgets = [[String(id), 'speedup'], [String(id), 'frdiff_steps']] }"
    )
    # As a saved workflow: not every frontend looks at what is promoted after the node is made.
    page.run(
        "async () => { const saved = app.graph.serialize();"
        " for (const node of saved.nodes) if (node.properties?.proxyWidgets) delete node.widgets_values;"
        " await app.loadGraphData(saved) }"
    )
    page.page.wait_for_timeout(800)
    page.errors.clear()
    shoot(page, "promoted")
    # Some frontends put the inner node's id before a name.
    dial = "app.graph.nodes.find((node) => node.subgraph).widgets.find((w) => /^(\\d+: )?speedup$/.test(w.name))"
    assert page.run(f"() => {dial}.value") == 2
    # Not by hand: a number typed into a promoted widget goes nowhere in frontend 1.32 with nodes as elements.
    page.run(f"() => {{ const w = {dial}; w.value = 4; w.callback?.(4) }}")
    # Whoever turns a dial lets go of the mouse, and the frontend looks at what was changed.
    page.page.mouse.click(700, 60)
    page.wait(INNER_PLAN, "planned: 5 of 20", seconds=10)
    assert page.run(f"() => {dial}.value") == 4
    shoot(page, "turned")


def test_a_subgraph_of_one_dial_plans_by_it(page):
    page.load(demo(20))
    wait_for_summary(page, "planned")
    page.run(INTO_SUBGRAPH, SAMPLER)
    # As a user does who pulls the dial's input onto the border.
    page.run(
        "() => { const { subgraph } = app.graph.nodes.find((node) => node.subgraph);"
        " const inner = subgraph.nodes[0], dial = inner.inputs.find((input) => input.name === 'speedup');"
        " subgraph.addInput('turbo', 'FLOAT').connect(dial, inner) }"
    )
    dial = "app.graph.nodes.find((node) => node.subgraph).widgets.find((w) => w.name === 'turbo')"
    page.wait(f"() => {dial}", seconds=10)
    page.run(f"() => {{ const w = {dial}; w.value = 4; w.callback?.(4) }}")
    page.page.mouse.click(700, 60)
    page.wait(INNER_PLAN, "planned: 5 of 20", seconds=10)
    sent = page.run("async () => (await app.graphToPrompt()).output")
    assert [node["inputs"]["speedup"] for node in sent.values() if node["class_type"] == "FRDiffKSampler"] == [4]


def test_settings_that_other_nodes_give_are_planned(page):
    page.load(demo(20))
    wait_for_summary(page, "planned")
    page.run(
        "([id, name, value]) => { const given = LiteGraph.createNode('PrimitiveInt');"
        " given.pos = [50, 500]; app.graph.add(given); given.widgets[0].value = value;"
        " const node = app.graph.getNodeById(id);"
        " given.connect(0, node, node.inputs.findIndex((input) => input.name === name)) }",
        [SAMPLER, "steps", 12],
    )
    wait_for_summary(page, "planned: 6 of 12", seconds=10)


def test_a_plan_by_a_value_that_is_made_while_it_runs_is_an_example(page):
    page.load(demo(12))
    wait_for_summary(page, "planned: 6 of 12")
    page.run(
        "(id) => { const made = LiteGraph.createNode('GetImageSize'), node = app.graph.getNodeById(id);"
        " made.pos = [50, 500]; app.graph.add(made);"
        " made.connect(0, node, node.inputs.findIndex((input) => input.name === 'steps')) }",
        SAMPLER,
    )
    wait_for_summary(page, "example of 20 steps", seconds=10)


def test_a_long_reason_is_read_in_full(page, shoot):
    page.load(demo(6))
    wait_for_summary(page, "planned")
    turn(page, "sampler_name", "dpm_adaptive")
    queue(page)
    wait_for_summary(page, "All ")
    words = f"{MAP.format(id=SAMPLER)}.shadowRoot.querySelector('.words')"
    assert len(summary(page)) > 90
    fits = "words.clientHeight && words.scrollHeight <= words.clientHeight + 1"
    page.wait(f"() => {{ const words = {words}; return {fits} }}", seconds=10)
    shoot(page, "reason")
