"""What people do with results, in a real browser: slide, play, look at plots, and open a picture again."""

import base64
import io
import json
import re

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from stepmaps import (
    REPORT,
    SAMPLER,
    cells,
    demo,
    outputs_of,
    queue,
    report_of,
    summary,
    wait_for_summary,
)

from setup.browser import frontend

pytestmark = pytest.mark.browser

SAVER = 7
SHADOW = "app.graph.getNodeById({}).widgets.find((w) => w.name === 'frdiff_result').element.shadowRoot"
# Samples plain and with FRDiff from the demo's sources, and compares; answers the ids of the new nodes.
COMPARE = """([sampler, batch, latents]) => {
  const fast = app.graph.getNodeById(sampler)
  const make = (type, x, y) => {
    const node = LiteGraph.createNode(type)
    node.pos = [x, y]
    app.graph.add(node)
    return node
  }
  const from = (node, name) => app.graph.links.get(node.inputs.find((one) => one.name === name).link)
  const to = (source, slot, node, name) => source.connect(slot, node, node.inputs.findIndex((one) => one.name === name))
  const plain = make('FRDiffKSampler', -900, 900)
  for (const widget of plain.widgets) {
    const own = fast.widgets.find((one) => one.name === widget.name)
    if (own && widget.serialize !== false) widget.value = own.value
  }
  plain.widgets.find((one) => one.name === 'speedup').value = 1
  for (const name of ['model', 'positive', 'negative', 'latent_image']) {
    const link = from(fast, name)
    to(app.graph.getNodeById(link.origin_id), link.origin_slot, plain, name)
  }
  const size = app.graph.getNodeById(from(fast, 'latent_image').origin_id)
  size.widgets.find((one) => one.name === 'batch_size').value = batch
  const compare = make('FRDiffCompare', 760, 700)
  to(plain, 0, compare, 'latent_a'); to(fast, 0, compare, 'latent_b')
  to(plain, 1, compare, 'report_a'); to(fast, 1, compare, 'report_b')
  if (!latents) {
    const old = app.graph.nodes.find((node) => node.type === 'VAEDecode'), vae = from(old, 'vae')
    for (const [source, name, y] of [[plain, 'image_a', 900], [fast, 'image_b', 1000]]) {
      const decode = make('VAEDecode', 400, y)
      to(source, 0, decode, 'samples'); to(app.graph.getNodeById(vae.origin_id), vae.origin_slot, decode, 'vae')
      to(decode, 0, compare, name)
    }
  }
  return Number(compare.id)
}"""
ADD = """([type, values]) => {
  const sampler = app.graph.getNodeById(%d), node = LiteGraph.createNode(type)
  node.pos = [760, 700]
  app.graph.add(node)
  for (const widget of node.widgets) {
    const own = sampler.widgets.find((one) => one.name === widget.name)
    widget.value = values[widget.name] ?? (own && widget.serialize !== false ? own.value : widget.value)
  }
  for (const [place, { name }] of node.inputs.entries()) {
    const old = name === 'vae' ? app.graph.nodes.find((one) => one.type === 'VAEDecode') : sampler
    const link = app.graph.links.get(old.inputs.find((one) => one.name === name && !one.widget)?.link)
    if (link && name !== 'schedule') app.graph.getNodeById(link.origin_id).connect(link.origin_slot, node, place)
  }
  return Number(node.id)
}""".replace("%d", str(SAMPLER))
DROP = """([name, base64, type]) => {
  const data = new DataTransfer(), bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0))
  data.items.add(new File([bytes], name, { type }))
  const at = { bubbles: true, cancelable: true, dataTransfer: data, clientX: 700, clientY: 400 }
  for (const kind of ['dragover', 'drop']) app.canvas.canvas.dispatchEvent(new DragEvent(kind, at))
}"""

# Of a node that may not be there yet.
SAYS = """([id, text]) => app.graph.getNodeById(id)?.widgets?.find((widget) => widget.name === 'frdiff_steps')
  ?.element.shadowRoot.querySelector('.summary').textContent === text"""
PLACE = "(id) => [...app.graph.getNodeById(id).pos]"
ONE_PICTURE = """() => {
  const size = app.graph.nodes.find((node) => node.type === 'EmptyLatentImage')
  size.widgets.find((one) => one.name === 'batch_size').value = 1
}"""


def look_at_node(page, node):
    left, top = page.run(PLACE, node)
    page.look_at(1.0, (100 - left, 100 - top))


def part(page, node, selector, what):
    return page.run(f"() => {SHADOW.format(node)}.querySelector('{selector}').{what}")


def box_of(page, node, selector):
    return part(page, node, selector, "getBoundingClientRect().toJSON()")


def wait_for(page, node, selector, condition, seconds=30):
    page.wait(f"() => (({SHADOW.format(node)})?.querySelector('{selector}'))?.{condition}", seconds=seconds)


def compared(page, batch=1, latents=False, steps=10):
    """The demo with a comparison that has run; its node is at the left of the screen."""
    page.load(demo(steps))
    node = page.run(COMPARE, [SAMPLER, batch, latents])
    page.look_at(1.0, (-700, -560))
    queue(page)
    outputs = outputs_of(page)
    wait_for(page, node, ".a", "naturalWidth > 0")
    wait_for(page, node, ".b", "naturalWidth > 0")
    page.page.wait_for_timeout(400)
    return node, outputs[str(node)]


def screen(page, box):
    """What is on the screen within a box."""
    png = page.page.screenshot(clip={name: box[name] for name in ("x", "y", "width", "height")})
    return Image.open(io.BytesIO(png)).convert("RGB")


def file_of(page, entry):
    return page.client.view(entry["filename"], entry["subfolder"], entry["type"])


def base64_of(data):
    return base64.b64encode(data).decode()


def test_the_slider_shows_both_sides(page, shoot):
    node, output = compared(page)
    (shown,) = output["frdiff_compare"]
    assert part(page, node, ".figures", "textContent") == output["text"][0] and "PSNR" in output["text"][0]
    frame = box_of(page, node, ".frame")
    assert frame["width"] > 150 and frame["width"] == pytest.approx(frame["height"], abs=2)
    a, b = (Image.open(io.BytesIO(file_of(page, shown[side][0]))).convert("RGB") for side in "ab")

    def clipped():
        return float(re.search(r"(\d+(\.\d+)?)%", part(page, node, ".frame", "style.getPropertyValue('--split')"))[1])

    # With the mouse: pressed in the middle, dragged to the right.
    middle = frame["y"] + frame["height"] * 0.6
    page.page.mouse.move(frame["x"] + frame["width"] / 2, middle)
    page.page.mouse.down()
    page.page.mouse.move(frame["x"] + frame["width"] * 0.8, middle, steps=5)
    page.page.mouse.up()
    assert clipped() == pytest.approx(80, abs=2)
    shoot(page, "slid")
    assert page.run(PLACE, node) == [760, 700]
    # With keys.
    page.page.keyboard.press("End")
    assert clipped() == 100
    only_a = screen(page, frame)
    page.page.keyboard.press("Home")
    assert clipped() == 0
    only_b = screen(page, frame)
    for picture, own, other in ((only_a, a, b), (only_b, b, a)):
        near = [distance(picture, one.resize(picture.size, Image.Resampling.NEAREST)) for one in (own, other)]
        assert near[0] < near[1]
    page.page.keyboard.press("ArrowRight")
    assert clipped() == 0.5
    assert part(page, node, ".split", "getAttribute('aria-valuetext')").endswith("% B")


def distance(one, other):
    """Between two pictures, away from the corners with words."""
    box = (0, one.height // 3, one.width, one.height)
    pairs = zip(one.crop(box).getdata(), other.crop(box).getdata(), strict=True)
    return sum(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True))


def test_a_finger_slides(started, client, renderer):
    with frontend(started, client, renderer) as page:
        node, _ = compared(page)
        frame = box_of(page, node, ".frame")
        session = page.page.context.new_cdp_session(page.page)
        y = frame["y"] + frame["height"] / 2
        for kind, part_of in (("touchStart", 0.5), ("touchMove", 0.4), ("touchMove", 0.25), ("touchEnd", None)):
            points = [] if part_of is None else [{"x": frame["x"] + frame["width"] * part_of, "y": y}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        assert float(part(page, node, ".split", "value")) == pytest.approx(25, abs=3)


def test_the_difference_says_its_factor_and_follows_the_widget(page, shoot):
    node, output = compared(page)
    assert part(page, node, ".difference", "textContent") == "difference x 4"
    page.run(f"() => {SHADOW.format(node)}.querySelector('.difference').click()")
    page.page.wait_for_timeout(200)
    frame = box_of(page, node, ".frame")
    dark = screen(page, frame)
    (shown,) = output["frdiff_compare"]
    a, b = (Image.open(io.BytesIO(file_of(page, shown[side][0]))).convert("RGB") for side in "ab")
    rows = zip(a.getdata(), b.getdata(), strict=True)
    expected = [min(4 * abs(x - y), 255) for one, other in rows for x, y in zip(one, other, strict=True)]
    seen = [value for pixel in dark.getdata() for value in pixel]
    assert sum(seen) / len(seen) == pytest.approx(sum(expected) / len(expected), rel=0.1, abs=1)
    shoot(page, "difference")
    page.run(
        "(id) => { const node = app.graph.getNodeById(id), w = node.widgets.find((one) => one.name === 'amplify');"
        " w.value = 20; w.callback?.(20, app.canvas, node) }",
        node,
    )
    assert part(page, node, ".difference", "textContent") == "difference x 20"
    page.page.wait_for_timeout(200)
    bright = screen(page, frame)
    assert sum(value for pixel in bright.getdata() for value in pixel) > 1.5 * sum(seen)


def test_frames_play_and_the_sides_stay_together(page, shoot):
    node, output = compared(page, batch=5)
    assert part(page, node, "output", "textContent") == "frame 1 of 5"
    page.run(f"() => {SHADOW.format(node)}.querySelector('.play').click()")
    wait_for(page, node, "output", "textContent === 'frame 4 of 5'", 20)
    page.run(f"() => {SHADOW.format(node)}.querySelector('.play').click()")
    page.page.wait_for_timeout(400)
    stopped = part(page, node, "output", "textContent")
    page.page.wait_for_timeout(400)
    assert part(page, node, "output", "textContent") == stopped
    frame = int(stopped.split()[1]) - 1
    (shown,) = output["frdiff_compare"]
    for side in "ab":
        assert shown[side][frame]["filename"] in part(page, node, f".{side}", "src")
    page.run(f"() => {SHADOW.format(node)}.querySelector('.turn').focus()")
    page.page.keyboard.press("Home")
    assert part(page, node, "output", "textContent") == "frame 1 of 5"
    shoot(page, "frames")


def test_latents_compare_and_what_is_shown_comes_back_with_the_workflow(page, shoot):
    node, output = compared(page, latents=True)
    (shown,) = output["frdiff_compare"]
    assert shown["kind"] == "latent" and part(page, node, ".figures", "textContent").startswith("latent error")
    shoot(page, "latents")
    saved = page.run("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    assert "frdiff_result" not in json.dumps(saved)
    page.page.wait_for_timeout(1500)
    # To another workflow and back.
    page.run("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait("() => app.graph.nodes.length === 0")
    page.run("() => app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    page.wait("() => app.graph.nodes.length > 3")
    wait_for(page, node, ".figures", "textContent.startsWith('latent error')", 10)
    page.errors.clear()


def test_the_badge_can_be_saved(page):
    node, _ = compared(page)
    with page.page.expect_download() as download:
        page.run(f"() => {SHADOW.format(node)}.querySelector('.badge').click()")
    badge = Image.open(download.value.path())
    assert re.fullmatch(r"frdiff_badge_\w+\.png", download.value.suggested_filename)
    assert badge.width > badge.height > 300
    # It is shared: neither prompt nor workflow are in it.
    assert badge.info == {}


@pytest.mark.parametrize("colours", ["dark", "light"])
def test_the_report_and_the_sweep_draw_in_the_pages_colours(started, client, renderer, colours, shoot):
    with frontend(started, client, {**renderer, "Comfy.ColorPalette": colours}, size=(1500, 1500)) as page:
        page.load(demo(12))
        sweep = page.run(ADD, ["FRDiffSweep", {"dials": "1.5, 2, 3", "repeats": 2, "presets": ""}])
        page.run(ONE_PICTURE)
        look_at_node(page, sweep)
        queue(page)
        outputs = outputs_of(page)
        for node in (sweep, REPORT):
            wait_for(page, node, "svg", "getBoundingClientRect().width > 200")
        # The plot stands above the text, whichever of the pack's entries was loaded first.
        names = page.run("(id) => app.graph.getNodeById(id).widgets.map((w) => w.name)", REPORT)
        assert names.index("frdiff_result") < names.index("frdiff_text")
        rows = outputs[str(sweep)]["frdiff_rows"]
        cells = page.run(
            f"() => [...{SHADOW.format(sweep)}.querySelectorAll('tr')]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        assert cells[0] == ["run", "time", "speed-up", "computed", "error", "SSIM"]
        assert [cell[0] for cell in cells[1:]] == [row["run"] for row in rows]
        for cell, row in zip(cells[1:], rows, strict=True):
            assert float(cell[2][:-1]) == pytest.approx(row["speedup"], abs=0.006) and re.search(r"\(.*-.*\)", cell[1])
            assert row["speedup"] <= 12 / row["full"]
        # All of the table is in sight, and the words of the plot are as large as others on the node.
        table, panel = (box_of(page, sweep, selector) for selector in ("table", ".rows"))
        assert table["height"] <= panel["height"] + 1 and len(rows) >= 6
        assert table["width"] <= panel["width"] + 1 and panel["width"] > 350
        sizes = page.run(
            f"() => [...{SHADOW.format(sweep)}.querySelectorAll('svg text')]"
            ".map((words) => words.getBoundingClientRect().height)"
        )
        assert min(sizes) >= 9
        ink = page.run(f"() => getComputedStyle({SHADOW.format(sweep)}.querySelector('svg text')).fill")
        shade = sum(int(value) for value in re.findall(r"\d+", ink)[:3]) / 3
        assert shade > 150 if colours == "dark" else shade < 110
        shoot(page, "sweep")
        look_at_node(page, REPORT)
        shoot(page, "report")
    client.post("/settings", json.dumps({"Comfy.ColorPalette": "dark"}).encode())


def test_a_dropped_picture_shows_its_report(page, shoot):
    page.load(demo(24))
    wait_for_summary(page, "planned")
    queue(page)
    report = report_of(page)
    wait_for_summary(page, "faster")
    before, steps = summary(page), cells(page)
    image = outputs_of(page)[str(SAVER)]["images"][0]
    png = file_of(page, image)
    carried = json.loads(Image.open(io.BytesIO(png)).info["frdiff"])
    assert carried["frdiff_report"] == 1 and carried["runs"][str(SAMPLER)]["report"]["counts"] == report["counts"]
    # On another day: another run of the same workflow has been shown since, and ComfyUI knows nothing of the first.
    page.run("(id) => { app.graph.getNodeById(id).widgets.find((w) => w.name === 'speedup').value = 3 }", SAMPLER)
    queue(page)
    outputs_of(page)
    wait_for_summary(page, "8 of 24")
    page.run("() => app.graph.clear()")
    page.run(DROP, ["picture.png", base64_of(png), "image/png"])
    page.wait(SAYS, [SAMPLER, before], 20)
    page.page.wait_for_timeout(1500)
    assert (summary(page), cells(page)) == (before, steps)
    # It belongs to the picture, and is not saved with the workflow again.
    assert "frdiff" not in page.run("() => app.graph.serialize().extra")
    assert "frdiff_report" not in page.run("() => JSON.stringify(app.graph.serialize())")
    shoot(page, "dropped")


SAVERS = """() => {
  const decode = app.graph.nodes.find((node) => node.type === 'VAEDecode')
  return Object.fromEntries([
    ['SaveAnimatedWEBP', {}], ['SaveWEBM', {}], ['SaveVideo', {}]
  ].filter(([type]) => LiteGraph.registered_node_types[type]).map(([type]) => {
    const node = LiteGraph.createNode(type)
    app.graph.add(node)
    if (type === 'SaveVideo') {
      const video = LiteGraph.createNode('CreateVideo')
      app.graph.add(video)
      decode.connect(0, video, 0)
      video.connect(0, node, 0)
    } else decode.connect(0, node, 0)
    return [type, Number(node.id)]
  }))
}"""


def test_videos_carry_their_report_too(page):
    page.load(demo(16))
    savers = page.run(SAVERS)
    assert "SaveVideo" in savers and "SaveAnimatedWEBP" in savers
    queue(page)
    outputs = outputs_of(page)
    wait_for_summary(page, "faster")
    before, steps = summary(page), cells(page)
    for name, kind in (("SaveAnimatedWEBP", "image/webp"), ("SaveVideo", "video/mp4"), ("SaveWEBM", "video/webm")):
        (entry, *_) = outputs[str(savers[name])]["images"]
        page.run("() => app.graph.clear()")
        page.run(DROP, [entry["filename"], base64_of(file_of(page, entry)), kind])
        page.wait(SAYS, [SAMPLER, before], 20)
        page.page.wait_for_timeout(1000)
        assert cells(page) == steps
    page.errors.clear()


def with_workflow(png, workflow):
    """A picture that was saved with this workflow."""
    text, made = PngInfo(), io.BytesIO()
    text.add_text("workflow", json.dumps(workflow))
    Image.open(io.BytesIO(png)).save(made, "PNG", pnginfo=text)
    return made.getvalue()


def test_a_picture_of_strangers_does_no_harm(page):
    """Reports that hold what no map can show."""
    page.load(demo(20))
    wait_for_summary(page, "planned")
    queue(page)
    png = file_of(page, outputs_of(page)[str(SAVER)]["images"][0])
    wait_for_summary(page, "faster")
    workflow = json.loads(Image.open(io.BytesIO(png)).info["workflow"])
    cut_off = {"node": str(SAMPLER), "state": "done", "cells": {"0": "<b>"}}
    for strange in ({"frdiff_report": 1, "runs": {str(SAMPLER): cut_off}}, {"runs": "<b>"}, None, "<b>", [["<b>"]]):
        broken = with_workflow(png, {**workflow, "extra": {**workflow["extra"], "frdiff": strange}})
        page.run("() => app.graph.clear()")
        page.run(DROP, ["picture.png", base64_of(broken), "image/png"])
        page.wait("(id) => Boolean(app.graph.getNodeById(id))", SAMPLER, 20)
        page.page.wait_for_timeout(1000)
        assert "<b>" not in summary(page)
