"""What people do with the step map, in a real browser: turn the dial, queue, interrupt, reload."""

import json
import re

import pytest
from stepmaps import (
    CELLS,
    MAP,
    REPORT,
    SAMPLER,
    SUMMARY,
    TEXT,
    assert_equals_the_report,
    cells,
    demo,
    kinds,
    outputs_of,
    queue,
    report_of,
    summary,
    turn,
    wait_for_summary,
)

from setup.browser import frontend

pytestmark = pytest.mark.browser

FILLED = {"full": "100%", "partial": "50%", "skip": "0%"}


def test_the_dial_moves_the_plan(page, shoot):
    page.load(demo())
    wait_for_summary(page, "planned: 25 of 50 steps computed")
    assert len(cells(page)) == 50
    turn(page, "speedup", 5.0)
    wait_for_summary(page, "planned: 10 of 50", seconds=2)
    assert sum(cell["kind"] == "full" for cell in cells(page)) == 10
    assert all(cell["state"] == "planned" and cell["filled"] == FILLED[cell["kind"]] for cell in cells(page))
    before = kinds(page)
    turn(page, "sampler_name", "euler_ancestral")
    page.wait(f"([id, kinds]) => ({CELLS})(id).some((cell, i) => cell.kind !== kinds[i])", [SAMPLER, before], 2)
    assert kinds(page).count("full") == 10
    turn(page, "speedup", 1.0)
    wait_for_summary(page, "off", seconds=2)
    turn(page, "steps", 8)
    page.wait(f"(id) => {MAP.format(id='id')}.shadowRoot.querySelector('.cells').childElementCount === 8", SAMPLER, 2)
    shoot(page, "off")


def test_evaluations_are_counted_where_a_step_has_several(page, shoot):
    page.load(demo(steps=12))
    turn(page, "sampler_name", "heun")
    wait_for_summary(page, "planned: 12 of 23 evaluations computed, 11 skipped")
    planned = kinds(page)
    assert len(planned) == 12 and planned.count("partial") >= 6
    queue(page)
    wait_for_summary(page, "12 of 23 evaluations computed, ")
    wait_for_summary(page, "faster")
    assert kinds(page) == planned and all(cell["state"] == "done" for cell in cells(page))
    assert report_of(page)["counts"] == {"full": 12, "partial": 0, "skip": 11}
    shoot(page, "evaluations")


def test_a_run_fills_the_cells_and_equals_the_report(page, shoot):
    page.load(demo(steps=80))
    page.look_at(0.75, (-100, 160))
    wait_for_summary(page, "planned")
    queue(page)
    wait_for_summary(page, "step ")
    # Live: some are done while others are still planned.
    page.wait(f"(id) => {{ const c = ({CELLS})(id); return c.some((x) => x.state === 'done') && "
              "c.some((x) => x.state === 'planned') }", SAMPLER)  # fmt: skip
    shoot(page, "live")
    wait_for_summary(page, "faster")
    assert_equals_the_report(page, report_of(page))
    page.wait(TEXT, [REPORT, outputs_of(page)[str(REPORT)]["text"][0]], 5)
    shoot(page, "done")
    # Queued again with another seed: the map begins again, and ends as the new report says.
    turn(page, "seed", 7)
    turn(page, "steps", 30)
    queue(page)
    wait_for_summary(page, "step ")
    report = report_of(page)
    wait_for_summary(page, "of 30 steps computed")
    assert_equals_the_report(page, report)


def test_reload_restores_and_a_change_plans_again(page, shoot):
    page.load(demo(), "restored")
    wait_for_summary(page, "planned")
    queue(page)
    wait_for_summary(page, "faster")
    before = summary(page), cells(page)
    page.page.wait_for_timeout(1500)
    page.open()
    wait_for_summary(page, "faster")
    assert (summary(page), cells(page)) == before
    page.errors.clear()
    turn(page, "speedup", 3.0)
    wait_for_summary(page, "planned: 17 of 50", seconds=2)


def test_interrupt_says_stopped_and_the_next_run_is_whole(page):
    page.load(demo(steps=400))
    wait_for_summary(page, "planned")
    queue(page)
    page.wait(f"(id) => ({CELLS})(id).some((cell) => cell.state === 'done')", SAMPLER)
    page.client.post("/interrupt", b"{}")
    wait_for_summary(page, "stopped")
    done = sum(cell["state"] == "done" for cell in cells(page))
    assert 0 < done < 400
    assert re.match(r"stopped at step \d+ of 400, \d+ computed", summary(page))
    turn(page, "steps", 20)
    queue(page)
    page.wait(f"(id) => ({SUMMARY})(id).startsWith('10 of 20 steps computed, ')", SAMPLER, 60)
    assert all(cell["state"] == "done" for cell in cells(page))


def test_hover_and_keys_show_a_step(page, renderer):
    page.load(demo())
    page.look_at(offset=(-30, 60))
    wait_for_summary(page, "planned")
    detail = f"(id) => {MAP.format(id='id')}.shadowRoot.querySelector('.detail').textContent"
    box = page.run(
        f"(id) => {MAP.format(id='id')}.shadowRoot.querySelector('.cells')"
        ".children[3].getBoundingClientRect().toJSON()",
        SAMPLER,
    )
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait(f"(id) => ({detail})(id).startsWith('step 4 of 50, ')", SAMPLER, 5)
    assert "sigma" in page.run(detail, SAMPLER)
    zoom = page.run("() => app.canvas.ds.scale")
    page.page.mouse.wheel(0, -100)
    page.wait("(zoom) => app.canvas.ds.scale > zoom", zoom, 5)
    page.page.mouse.move(5, 5)
    page.run(f"(id) => {MAP.format(id='id')}.shadowRoot.querySelector('.cells').focus()", SAMPLER)
    graph = page.run("() => JSON.stringify(app.graph.serialize().nodes.map((n) => n.pos))")
    for key, step in (("End", 50), ("ArrowLeft", 49), ("Home", 1), ("ArrowDown", 26)):
        page.page.keyboard.press(key)
        assert page.run(detail, SAMPLER).startswith(f"step {step} of 50, ")
    selected = f"(id) => {MAP.format(id='id')}.shadowRoot.querySelectorAll('[aria-selected=true]').length"
    assert page.run(selected, SAMPLER) == 1
    assert page.run("() => JSON.stringify(app.graph.serialize().nodes.map((n) => n.pos))") == graph


def test_the_saved_workflow_knows_nothing_of_the_map(page):
    page.load(demo())
    wait_for_summary(page, "planned")
    saved = page.run("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    node = next(node for node in saved["nodes"] if node["id"] == SAMPLER)
    assert len(node["widgets_values"]) == 8 and "frdiff_steps" not in json.dumps(saved)
    prompt = page.run("async () => (await app.graphToPrompt()).output")
    assert "frdiff_steps" not in json.dumps(prompt)
    page.load(saved)
    again = page.run("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    assert [n["widgets_values"] for n in again["nodes"] if n["id"] == SAMPLER] == [node["widgets_values"]]
    assert page.run("async () => (await app.graphToPrompt()).output") == prompt


def test_zoomed_collapsed_and_light(started, client, renderer, shoot):
    with frontend(started, client, {**renderer, "Comfy.ColorPalette": "light"}) as page:
        page.load(demo())
        page.look_at(2, (-700, -150))
        wait_for_summary(page, "planned")
        colour = page.run(f"(id) => getComputedStyle({MAP.format(id='id')}).color", SAMPLER)
        assert max(int(part) for part in colour.strip("rgba()").split(",")[:3]) < 128
        box = page.run(f"(id) => {MAP.format(id='id')}.getBoundingClientRect().toJSON()", SAMPLER)
        assert box["width"] > 400
        shoot(page, "zoomed")
        page.run("(id) => { app.graph.getNodeById(id).collapse(); app.canvas.setDirty(true, true) }", SAMPLER)
        page.page.wait_for_timeout(500)
        shoot(page, "collapsed")
        assert not page.run(f"(id) => {MAP.format(id='id')}.checkVisibility()", SAMPLER)
        page.run("(id) => { app.graph.getNodeById(id).collapse(); app.canvas.setDirty(true, true) }", SAMPLER)
        page.page.wait_for_timeout(500)
        assert page.run(f"(id) => {MAP.format(id='id')}.checkVisibility()", SAMPLER)
    client.post("/settings", json.dumps({"Comfy.ColorPalette": "dark"}).encode())


def test_a_sampler_in_a_subgraph_has_its_own_map(page, shoot):
    page.load(demo())
    wait_for_summary(page, "planned")
    page.run(
        "(id) => { const { subgraph } = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]));"
        " window.frdiffTestInner = subgraph.nodes[0] }",
        SAMPLER,
    )
    inner = "window.frdiffTestInner.widgets.find((w) => w.name === 'frdiff_steps').element.shadowRoot"
    queue(page)
    page.wait(f"() => {inner}.querySelector('.summary').textContent.includes('faster')", seconds=60)
    assert page.run(f"() => {inner}.querySelectorAll('[data-state=done]').length") == 50
    page.run(
        "() => { const holder = app.graph.nodes.find((node) => node.subgraph);"
        " app.canvas.openSubgraph?.(window.frdiffTestInner.graph, holder);"
        " delete window.frdiffTestInner }"
    )
    page.page.wait_for_timeout(500)
    # Frontend 1.32 complains about a graph that a script opens, whatever is in it.
    page.errors.clear()
    page.look_at(offset=(-200, 100))
    shoot(page, "inside")


def test_nothing_global_is_left(page):
    page.load(demo())
    wait_for_summary(page, "planned")
    assert page.run("() => Object.keys(window).filter((name) => /frdiff/i.test(name))") == []
    assert page.run("() => [...document.styleSheets].filter((s) => /frdiff/i.test(s.href ?? '')).length") == 0
