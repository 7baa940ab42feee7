"""Step maps as a test sees them, and what people do with a page."""

import json
import random
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "scripts" / "demo" / "pack" / "workflows" / "FRDiff demo.json"
SAMPLER, REPORT = 5, 8
MAP = "app.graph.getNodeById({id}).widgets.find((w) => w.name === 'frdiff_steps').element"
CELLS = """(id) => [...%s.shadowRoot.querySelector('.cells').children].map((cell) => ({
  kind: cell.dataset.kind, state: cell.dataset.state, words: cell.getAttribute('aria-label'),
  filled: cell.style.getPropertyValue('--filled') }))""" % MAP.format(id="id")  # noqa: UP031 (braces of JavaScript)
TEXT = """([id, text]) => app.graph.getNodeById(id).widgets.find((w) => w.name === 'frdiff_text').element.shadowRoot
  .querySelector('.text').textContent === text"""
SUMMARY = f"(id) => {MAP.format(id='id')}.shadowRoot.querySelector('.summary').textContent"


def demo(steps=50):
    """The demo's workflow with an id of its own and a new seed, so that nothing is answered from a cache."""
    workflow = json.loads(DEMO.read_text())
    workflow["id"] = f"00000000-0000-4000-8000-{random.randrange(16**12):012x}"
    for node in workflow["nodes"]:
        if node["id"] == SAMPLER:
            node["widgets_values"][0] = random.randrange(2**32)
            node["widgets_values"][2] = steps
    return workflow


def summary(page, node=SAMPLER):
    return page.run(SUMMARY, node)


def cells(page, node=SAMPLER):
    return page.run(CELLS, node)


def kinds(page, node=SAMPLER):
    return [cell["kind"] for cell in cells(page, node)]


def wait_for_summary(page, text, node=SAMPLER, seconds=60):
    page.wait(f"([id, text]) => ({SUMMARY})(id).includes(text)", [node, text], seconds)


def turn(page, widget, value, node=SAMPLER):
    """Set a widget as its own control does."""
    page.run(
        "([id, name, value]) => { const node = app.graph.getNodeById(id);"
        " const widget = node.widgets.find((w) => w.name === name); widget.value = value;"
        " widget.callback?.(value, app.canvas, node) }",
        [node, widget, value],
    )


def drop(page, name, text):
    """Drop a file on the canvas."""
    page.run(
        "([name, text]) => { const data = new DataTransfer();"
        " data.items.add(new File([text], name, { type: 'application/json' }));"
        " const at = { bubbles: true, cancelable: true, dataTransfer: data, clientX: 700, clientY: 400 };"
        " for (const kind of ['dragover', 'drop']) app.canvas.canvas.dispatchEvent(new DragEvent(kind, at)) }",
        [name, text],
    )


def queue(page):
    page.before = set(page.client.json("/history?max_items=1"))
    page.run("() => app.queuePrompt(0)")


def outputs_of(page):
    """What the prompt that was queued gave, by node."""
    for _ in range(600):
        history = page.client.json("/history?max_items=1")
        if set(history) - page.before:
            break
        page.page.wait_for_timeout(100)
    return next(iter(history.values()))["outputs"]


def report_of(page):
    """The JSON that the report node got in the prompt that was queued."""
    return json.loads(outputs_of(page)[str(REPORT)]["text"][1])


def time_words(ms):
    """What a step took, as the map says it."""
    return f"{ms / 1000:.2f} s" if ms >= 1000 else f"{ms:.1f} ms"


def assert_equals_the_report(page, report, node=SAMPLER):
    """Text and cells of a finished run, against the report's JSON."""
    counts, total = report["counts"], report["steps"]
    assert summary(page, node) == (
        f"{counts['full']} of {total} steps computed, {report['speedup']:.2f}x faster, "
        f"{report['bytes_kept'] / 1e6:.1f} MB kept"
    )
    shown = cells(page, node)
    assert [cell["kind"] for cell in shown] == [record["kind"] for record in report["records"]]
    assert all(cell["state"] == "done" for cell in shown)
    for number, (cell, record) in enumerate(zip(shown, report["records"], strict=True)):
        assert cell["words"].startswith(f"step {number + 1} of {total}, ")
        assert (time_words(record["ms"]) in cell["words"]) == (record["ms"] > 0)
        assert ("forecast error" in cell["words"]) == (record["forecast_error"] is not None)
