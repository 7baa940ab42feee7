"""Whole ways that people go, in a real browser: drag a node, turn its dial, save, load, lose the connection."""

import io
import json
import random
import re

import pytest
from PIL import Image
from stepmaps import (
    CELLS,
    REPORT,
    SAMPLER,
    assert_equals_the_report,
    cells,
    demo,
    drop,
    kinds,
    outputs_of,
    queue,
    report_of,
    summary,
    turn,
    wait_for_summary,
)

pytestmark = pytest.mark.browser

SAVER = 7
NEWEST = "() => Number(app.graph.nodes.filter((node) => node.type === 'FRDiffKSampler').at(-1).id)"
# Where the dial's right arrow is, on the screen.
ARROW = """(id) => {
  const node = app.graph.getNodeById(id), widget = node.widgets.find((w) => w.name === 'speedup')
  const { scale, offset } = app.canvas.ds, box = app.canvas.canvas.getBoundingClientRect()
  const x = node.pos[0] + node.size[0] - 26, y = node.pos[1] + (widget.last_y ?? widget.y) + 10
  return [box.x + (x + offset[0]) * scale, box.y + (y + offset[1]) * scale]
}"""
# Connects a sampler to the sources of another one, and its report to a node of its own.
CONNECT = """([from, to]) => {
  const old = app.graph.getNodeById(from), node = app.graph.getNodeById(to)
  for (const { name, link } of old.inputs.filter((input) => input.link != null)) {
    const { origin_id: id, origin_slot: slot } = app.graph.getLink?.(link) ?? app.graph.links[link]
    app.graph.getNodeById(id).connect(slot, node, node.inputs.findIndex((input) => input.name === name))
  }
  const report = LiteGraph.createNode('FRDiffReport')
  report.pos = [node.pos[0] + 400, node.pos[1]]
  app.graph.add(report)
  node.connect(1, report, 0)
  return Number(report.id)
}"""


def drag_from_the_library(page, name, place):
    """Put a node on the canvas with the mouse, out of the node library at the side."""
    page.page.keyboard.press("n")
    page.page.get_by_placeholder("Search").first.fill(name)
    page.page.wait_for_timeout(500)
    # The frontend shows what matches in a part of its own, which leaves spaces around it.
    others = re.compile("Advanced|beside")
    items = page.page.get_by_role("treeitem").filter(has_text="KSampler").filter(has_not_text=others)
    items.last.hover()
    page.page.mouse.down()
    page.page.mouse.move(place[0] - 40, place[1] - 20, steps=12)
    page.page.mouse.move(*place, steps=4)
    page.page.mouse.up()
    page.page.wait_for_timeout(500)
    page.page.keyboard.press("n")
    # Frontend 1.32 complains about its own picture of a dragged node, whichever node it is.
    page.errors.clear()


def turn_by_hand(page, renderer, node, value):
    """Turn the dial of a node up from 2.0, with its arrow or with the keyboard."""
    field = page.page.locator(f"[node-id='{node}']:has-text('speedup') input").last
    for _ in range(round((value - 2.0) * 10)):
        if renderer["Comfy.VueNodes.Enabled"]:
            field.press("ArrowUp")
        else:
            page.page.mouse.click(*page.run(ARROW, node))


def test_two_samplers_one_of_them_from_the_library(page, renderer, shoot):
    page.load(demo())
    page.look_at(0.6, (700, 600))
    wait_for_summary(page, "planned")
    drag_from_the_library(page, "FRDiff KSampler", (700, 120))
    new = page.run(NEWEST)
    assert new != SAMPLER
    wait_for_summary(page, "planned: 10 of 20 steps computed", new)
    before = kinds(page, new)
    turn_by_hand(page, renderer, new, 2.5)
    wait_for_summary(page, "planned: 8 of 20 steps computed", new, seconds=10)
    assert kinds(page, new) != before and kinds(page, new).count("full") == 8
    report = page.run(CONNECT, [SAMPLER, new])
    # A seed of its own, so that nothing is answered from a cache.
    for widget, value in (("cfg", 3.0), ("seed", random.randrange(2**32))):
        turn(page, widget, value, new)
    queue(page)
    # Each fills while it runs, and ends as its own report says.
    page.wait(f"([a, b]) => [a, b].some((id) => ({CELLS})(id).some((cell) => cell.state === 'done'))", [SAMPLER, new])
    outputs = outputs_of(page)
    for node, shows in ((SAMPLER, REPORT), (new, report)):
        wait_for_summary(page, "faster", node)
        assert_equals_the_report(page, json.loads(outputs[str(shows)]["text"][1]), node)
    assert [len(cells(page, node)) for node in (SAMPLER, new)] == [50, 20]
    shoot(page, "two")


def test_saved_and_opened_again_it_gives_the_same_picture(page):
    page.load(demo(steps=20))
    wait_for_summary(page, "planned")
    turn(page, "speedup", 2.5)

    def picture():
        page.client.post("/free", json.dumps({"unload_models": True, "free_memory": True}).encode())
        page.page.wait_for_timeout(1500)
        queue(page)
        image = outputs_of(page)[str(SAVER)]["images"][0]
        png = page.client.view(image["filename"], image["subfolder"], image["type"])
        return report_of(page)["records"], Image.open(io.BytesIO(png)).tobytes()

    def prompt():
        return page.run("async () => (await app.graphToPrompt()).output")

    records, first = picture()
    asked = prompt()
    page.client.post("/settings", json.dumps({"Comfy.PromptFilename": False}).encode())
    page.open()
    page.errors.clear()
    wait_for_summary(page, "faster")
    with page.page.expect_download() as download:
        page.run("() => app.extensionManager.command.execute('Comfy.ExportWorkflow')")
    saved = download.value.path().read_text()
    page.run("() => app.graph.clear()")
    drop(page, "again.json", saved)
    page.wait("(count) => app.graph.nodes.length === count", len(json.loads(saved)["nodes"]))
    assert prompt() == asked
    again, second = picture()
    assert second == first
    # Computed again, and not taken from a cache: its times are its own.
    assert [record["kind"] for record in again] == [record["kind"] for record in records] and again != records


def test_what_was_missed_without_a_connection_is_there_afterwards(page):
    page.load(demo(steps=60))
    wait_for_summary(page, "planned")
    # No socket can be opened from here on, and the one that is open goes away.
    page.run(
        "() => { window.frdiffTestSocket = window.WebSocket;"
        " window.WebSocket = class extends window.WebSocket { constructor() { super('ws://127.0.0.1:9') } } }"
    )
    queue(page)
    page.run("async () => { const { api } = await import('/scripts/api.js'); api.socket.close() }")
    report = report_of(page)
    assert "faster" not in summary(page)
    page.run("() => { window.WebSocket = window.frdiffTestSocket; delete window.frdiffTestSocket }")
    wait_for_summary(page, "faster", seconds=20)
    assert_equals_the_report(page, report)


def test_a_page_that_learns_its_name_late_finds_its_runs(page):
    page.load(demo(steps=20), "late")
    wait_for_summary(page, "planned")
    queue(page)
    wait_for_summary(page, "faster")
    page.page.wait_for_timeout(1500)
    held = []

    def hold(socket):
        server = socket.connect_to_server()
        server.on_message(lambda message: held.append((socket, message)))

    page.page.route_web_socket("**/ws*", hold)
    page.open()
    wait_for_summary(page, "planned")
    assert held
    for socket, message in held:
        socket.send(message)
    wait_for_summary(page, "faster", seconds=10)
    page.errors.clear()


def test_a_screen_reader_gets_steps_and_the_result(page):
    page.load(demo(steps=12))
    wait_for_summary(page, "planned")
    steps = page.page.get_by_role("listbox", name="FRDiff steps")
    options = steps.get_by_role("option")
    assert options.count() == 12
    assert options.nth(0).get_attribute("aria-label").startswith("step 1 of 12, computed, sigma ")
    # With the keyboard alone: from the text field before it, by Tab.
    page.page.locator("textarea").last.focus()
    focused = "() => document.activeElement?.shadowRoot?.activeElement?.getAttribute('aria-label')"
    for _ in range(40):
        page.page.keyboard.press("Tab")
        if page.run(focused) == "FRDiff steps":
            break
    assert page.run(focused) == "FRDiff steps"
    page.page.keyboard.press("ArrowRight")
    active = steps.get_attribute("aria-activedescendant")
    assert steps.locator(f"#{active}").get_attribute("aria-label").startswith("step 2 of 12, ")
    queue(page)
    wait_for_summary(page, "faster")
    assert page.page.get_by_role("status").filter(has_text="of 12 steps computed").count() == 1
