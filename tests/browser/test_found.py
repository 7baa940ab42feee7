"""The pack is found and read: words of the node search, and texts in every language, in a real browser."""

import json
from pathlib import Path

import pytest
from stepmaps import SAMPLER, demo, summary, wait_for_summary

pytestmark = pytest.mark.browser

LOCALES = Path(__file__).resolve().parent.parent.parent / "locales"
LANGUAGES = ("en", "de", "es", "fr", "ja", "ko", "ru", "zh", "zh-TW")
# Some frontends search names alone, and only their beginning.
IN_NAME = ("cache", "speed", "faster")
# Others name nodes by the translation, which is the title on the canvas as well, and search aliases: what they find by
# an alias they put behind names that have the word in them (EasyCache), and behind similar names of nodes in much use.
BY_ALIAS = {"cache": 4, "speed": 3, "faster": 1, "accelerate": 1, "teacache": 1}
ALIASES_KNOWN = "() => 'search_aliases' in LiteGraph.registered_node_types.FRDiffKSampler.nodeData"
FOUND = """() => [...document.querySelectorAll('[role=option]')].map((one) => one.textContent)
  .filter((text) => text.trim())"""
TEXTS = """(id) => {
  const node = app.graph.getNodeById(id), said = (part) => part.label ?? part.localized_name ?? part.name
  return {
    title: node.title, report: LiteGraph.registered_node_types.FRDiffReport.title,
    inputs: Object.fromEntries(node.inputs.filter((one) => !one.widget).map((one) => [one.name, said(one)])),
    widgets: Object.fromEntries(node.widgets.map((one) => [one.name, said(one)])),
    tooltip: node.constructor.nodeData.inputs.speedup.tooltip, output: said(node.outputs[1])
  }
}"""
OFFERED = "(language) => app.extensionManager.setting.get('Comfy.Locale') === language"


@pytest.mark.parametrize("renderer", ["canvas"], indirect=True)
def test_people_find_the_sampler_by_what_they_look_for(page, renderer, shoot):
    page.load(demo(12))
    wait_for_summary(page, "planned")
    every = page.run(ALIASES_KNOWN)
    for word, place in BY_ALIAS.items():
        page.page.mouse.move(600, 800)
        page.run("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
        page.wait("() => document.activeElement?.tagName === 'INPUT'", seconds=10)
        page.page.keyboard.type(word)
        page.page.wait_for_timeout(1000)
        found = page.run(FOUND)
        shoot(page, word)
        page.page.keyboard.press("Escape")
        page.page.wait_for_timeout(400)
        named = any(text.startswith("Cache, speed, faster: FRDiff KSampler") for text in found)
        if named or every or word in IN_NAME:
            assert any("FRDiff KSampler" in text for text in found[: 1 if named else place]), (word, found[:5])
    # Frontend 1.32 complains when its own search is left by a key.
    page.errors.clear()


@pytest.mark.parametrize("renderer", ["canvas"], indirect=True)
@pytest.mark.parametrize("language", LANGUAGES)
def test_nodes_and_panel_speak_the_same_language(started, client, renderer, language, shoot):
    from setup.browser import frontend

    def texts(name, file):
        return json.loads((LOCALES / name / file).read_text(encoding="utf-8"))

    with frontend(started, client, {**renderer, "Comfy.Locale": language}) as page:
        page.load(demo(12))
        # What a frontend does not offer is English all through, or the pack's words all through.
        spoken = language if page.run(OFFERED, language) else "en"
        wanted, words = texts(spoken, "nodeDefs.json"), texts(spoken, "main.json")["frdiff"]
        wait_for_summary(page, words["planned"])
        sampler, told = wanted["FRDiffKSampler"], page.run(TEXTS, SAMPLER)
        shoot(page, "texts")
        assert told["title"] == sampler["display_name"]
        assert told["report"] == wanted["FRDiffReport"]["display_name"]
        assert told["inputs"] == {name: sampler["inputs"][name]["name"] for name in told["inputs"]}
        for name in ("seed", "steps", "cfg", "speedup"):
            assert told["widgets"][name] == sampler["inputs"][name]["name"]
        assert told["tooltip"] == sampler["inputs"]["speedup"]["tooltip"]
        assert told["output"] == sampler["outputs"]["1"]["name"]
        assert summary(page).startswith(words["planned"])
    client.post("/settings", json.dumps({"Comfy.Locale": "en"}).encode())
