"""What people do with the plot of speed and error on the calibration nodes, in a real browser."""

import json
import random
import shutil

import pytest
from stepmaps import SAMPLER, demo

from setup import HOST_DIR, ROOT

FILES = ("demo_unet_20", "demo_unet_50")
pytestmark = pytest.mark.browser

SHADOW = "window.frdiffTestNode.widgets.find((w) => w.name === '{}').element.shadowRoot"
FRONT, STEPS = SHADOW.format("frdiff_front"), SHADOW.format("frdiff_steps")
POINTS = f"""() => [...{FRONT}.querySelectorAll('[role=option]')].map((point) => ({{
  words: point.getAttribute('aria-label'), chosen: point.getAttribute('aria-selected') === 'true',
  box: point.getBoundingClientRect().toJSON() }}))"""
DIAL = "() => window.frdiffTestNode.widgets.find((w) => w.name === 'speedup').value"
ADD = """([type, widgets, links]) => {
  const node = window.frdiffTestNode = LiteGraph.createNode(type)
  node.pos = [-330, 60]
  app.graph.add(node)
  for (const [name, value] of Object.entries(widgets)) node.widgets.find((w) => w.name === name).value = value
  const sampler = app.graph.getNodeById(%d)
  node.connect(0, sampler, sampler.inputs.findIndex((input) => input.name === 'schedule'))
  for (const name of links) {
    const { link } = sampler.inputs.find((input) => input.name === name)
    const { origin_id: id, origin_slot: slot } = app.graph.getLink?.(link) ?? app.graph.links[link]
    app.graph.getNodeById(id).connect(slot, node, node.inputs.findIndex((input) => input.name === name))
  }
}""".replace("%d", str(SAMPLER))


def add(page, kind, widgets=(), links=()):
    """Load the demo and connect a calibration node to its sampler."""
    page.load(demo())
    page.run(ADD, [kind, dict(widgets), list(links)])
    page.look_at(offset=(380, 60))


@pytest.fixture(autouse=True)
def files(client):
    """Files in models/frdiff, which the loader's list has when a page is opened."""
    folder = HOST_DIR / "browser-base" / "models" / "frdiff"
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(ROOT / "tests" / "schedules" / f"{name}.safetensors", folder)


def loader(page, file="demo_unet_20"):
    add(page, "FRDiffScheduleLoader", {"file": f"{file}.safetensors"})
    wait_for_summary(page, file)
    page.wait(f"() => {STEPS}.querySelector('.summary').textContent.startsWith('planned')")
    page.page.wait_for_timeout(500)


def points(page):
    return page.run(POINTS)


def point_at(page, speed):
    """The point of a speed."""
    return next(point for point in points(page) if point["words"].startswith(f"{speed:.2f}x"))


def chosen(page):
    (one,) = [point["words"] for point in points(page) if point["chosen"]]
    return one


def front_of(page, file):
    """The server's own figures."""
    request = {"node": "FRDiffScheduleLoader", "inputs": {"file": f"{file}.safetensors"}}
    return json.loads(page.client.post("/frdiff/front", json.dumps(request).encode()))["points"]


def words_of(page, file, dial):
    """What the plot says of the point that a dial's value means."""
    point = [point for point in front_of(page, file) if point["from"] <= dial][-1]
    said, worst, low, fewer = (round(point[name]) for name in ("middle", "worst", "low", "fewer"))
    return f"{point['speedup']:.2f}x: {said} dB, worst {worst}, nine of ten above {low}, fewer steps {fewer} dB"


def wait_for_summary(page, text, seconds=30):
    page.wait(f"(text) => {FRONT}.querySelector('.summary').textContent.includes(text)", text, seconds)


def put(page, name, value):
    """Set a widget as its control does."""
    page.run(
        "([name, value]) => { const w = window.frdiffTestNode.widgets.find((w) => w.name === name);"
        " w.value = value; w.callback?.(value) }",
        [name, value],
    )


def click(page, point, dy=0):
    box = point["box"]
    page.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + dy)


def test_a_click_sets_the_dial(page, shoot):
    loader(page)
    assert chosen(page) == words_of(page, "demo_unet_20", 2.0)
    shoot(page, "front")
    # Anywhere above or below a point is as good as on it.
    for speed, dial, planned in ((4.0, 4.0, "planned: 12 of 50"), (1.54, 1.5, "planned: 33 of 50")):
        click(page, point_at(page, speed), dy=-6)
        page.wait(f"([dial]) => Math.round(10 * ({DIAL})()) / 10 === dial", [dial], 5)
        page.wait(f"(text) => {STEPS}.querySelector('.summary').textContent.startsWith(text)", planned[:9], 5)
        page.page.mouse.move(700, 820)
        page.page.wait_for_timeout(300)
        assert chosen(page).startswith(f"{speed:.2f}x")
    prompt = page.run("async () => (await app.graphToPrompt()).output")
    (inputs,) = [node["inputs"] for node in prompt.values() if node["class_type"] == "FRDiffScheduleLoader"]
    assert inputs["file"] == "demo_unet_20.safetensors" and inputs["by"] == "speed" and 1.5 <= inputs["speedup"] <= 1.6
    assert "frdiff_front" not in json.dumps(page.run("() => JSON.parse(JSON.stringify(app.graph.serialize()))"))
    shoot(page, "clicked")


def test_what_the_marks_are_is_said_at_the_marks(page):
    loader(page)
    labels = page.run(
        f"() => [...{FRONT}.querySelectorAll('b[data-side], b.better')].map((label) => ({{"
        " words: label.textContent, box: label.getBoundingClientRect().toJSON() }))"
    )
    words = [label["words"] for label in labels]
    assert {"fewer steps", "measured"} <= set(words) and words[-1].startswith("better")
    plot = page.run(f"() => {FRONT}.querySelector('.plot').getBoundingClientRect().toJSON()")
    for i, label in enumerate(labels):
        a = label["box"]
        assert a["left"] >= plot["left"] and a["right"] <= plot["right"], label["words"]
        for other in labels[:i]:
            b = other["box"]
            beside = a["right"] <= b["left"] or b["right"] <= a["left"]
            assert beside or a["bottom"] <= b["top"] or b["bottom"] <= a["top"], (label["words"], other["words"])


def test_keys_choose_a_point_and_say_it(page):
    loader(page)
    page.run(f"() => {FRONT}.querySelector('.plot').focus()")
    detail = f"() => {FRONT}.querySelector('.detail').textContent"
    shown = points(page)
    last = len(shown) - 1
    assert last > 2
    moves = (("End", last), ("ArrowLeft", last - 1), ("Home", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("End", last))
    for key, index in moves:
        page.page.keyboard.press(key)
        assert page.run(detail) == shown[index]["words"]
    assert page.run(DIAL) == 2.0
    page.page.keyboard.press("Enter")
    assert page.run(DIAL) == 4.0 and chosen(page) == shown[last]["words"]
    assert page.run(f"() => {FRONT}.querySelector('[role=status]').textContent") == "dial set to 4.0"
    active = f"() => {FRONT}.querySelector('.plot').getAttribute('aria-activedescendant')"
    assert page.run(active) == f"point-{last}"


def test_another_file_and_a_dial_that_moves_without_the_plot(page):
    loader(page)
    put(page, "file", "demo_unet_50.safetensors")
    put(page, "speedup", 3)
    wait_for_summary(page, "demo_unet_50: 50 steps")
    page.page.wait_for_timeout(300)
    assert len(points(page)) > 2 and chosen(page) == words_of(page, "demo_unet_50", 3.0)


def test_by_error_the_point_is_marked_that_is_as_near_as_asked_and_a_click_asks_for_a_speed(page):
    loader(page)
    shown = front_of(page, "demo_unet_20")
    level = shown[1]["said"] - 0.5
    for name, value in (("by", "error: decibels"), ("decibels", level)):
        put(page, name, value)
    page.page.wait_for_timeout(800)
    assert chosen(page).startswith(f"{shown[1]['speedup']:.2f}x")
    click(page, point_at(page, 4.0))
    by = "() => window.frdiffTestNode.widgets.find((w) => w.name === 'by').value"
    page.wait(f"() => ({DIAL})() === 4 && ({by})() === 'speed'", seconds=5)
    assert chosen(page).startswith("4.00x")


def test_a_dial_from_another_node_is_left_alone(page):
    loader(page)
    page.run(
        "() => { const source = LiteGraph.createNode('PrimitiveFloat'); source.pos = [-700, 60]; app.graph.add(source);"
        " source.widgets[0].value = 2; const node = window.frdiffTestNode;"
        " source.connect(0, node, node.inputs.findIndex((input) => input.name === 'speedup')) }"
    )
    page.page.wait_for_timeout(500)
    before = page.run(DIAL)
    click(page, point_at(page, 4.0))
    page.wait(f"() => {FRONT}.querySelector('.detail').textContent.startsWith('The dial is connected')", seconds=5)
    assert page.run(DIAL) == before


def test_light_theme_and_zoom(started, client, renderer, shoot):
    from setup.browser import frontend

    with frontend(started, client, {**renderer, "Comfy.ColorPalette": "light"}) as page:
        loader(page)
        page.look_at(2, (350, -90))
        assert point_at(page, 4.0)["box"]["x"] - points(page)[0]["box"]["x"] > 100
        click(page, point_at(page, 4.0))
        page.wait(f"() => ({DIAL})() === 4", seconds=5)
        shoot(page, "zoomed")
    client.post("/settings", json.dumps({"Comfy.ColorPalette": "dark"}).encode())


def test_calibrating_draws_the_front_and_the_dial_needs_no_second_calibration(page, shoot):
    name = f"front {random.randrange(10**6)}"
    widgets = {"steps": 24, "cfg": 3.0, "effort": "quick", "name": name, "sampler_name": "euler", "scheduler": "normal"}
    add(page, "FRDiffAutoFR", widgets, ["model", "positive", "negative", "latent_image"])
    page.wait(f"() => {STEPS}.querySelector('.summary').textContent.startsWith('Nothing has been calibrated')")
    assert points(page) == []
    shoot(page, "before")
    page.run("() => app.queuePrompt(0)")
    wait_for_summary(page, name, 120)
    page.wait("() => app.ui.lastQueueSize === 0", seconds=120)
    page.page.wait_for_timeout(1000)
    assert " dB, worst " in chosen(page) and len(points(page)) > 1
    assert page.run(f"() => {STEPS}.querySelector('.summary').textContent").startswith("planned: 25 of 50")
    shoot(page, "calibrated")
    click(page, points(page)[-1])
    page.wait(f"() => ({DIAL})() === 3", seconds=5)
    page.run("() => app.queuePrompt(0)")
    page.page.wait_for_timeout(500)
    page.wait("() => app.ui.lastQueueSize === 0", seconds=120)
    options = page.client.object_info()["FRDiffScheduleLoader"]["input"]["required"]["file"]
    assert f"{name}.safetensors" in json.dumps(options) and f"{name} 2.safetensors" not in json.dumps(options)
    page.page.wait_for_timeout(1500)
    page.open()
    page.run("() => { window.frdiffTestNode = app.graph.nodes.find((node) => node.type === 'FRDiffAutoFR') }")
    wait_for_summary(page, name)
    page.errors.clear()
