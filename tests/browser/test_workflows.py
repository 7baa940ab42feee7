"""The shared workflows open from the template browser and run, in a real browser."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parent.parent.parent
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
PACK = "comfyui-frdiff"
SAMPLERS = ("FRDiffKSampler", "FRDiffKSamplerAdvanced", "FRDiffModelPatcher")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_opens_from_the_templates(page, path, shoot):
    templates = page.client.json("/workflow_templates")
    assert path.stem in templates[PACK]
    page.run("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    # The pack's section of the template browser, then the card.
    card = page.page.locator(f"[data-testid='template-workflow-{path.stem}']")
    page.page.get_by_text("Extensions", exact=False).first.wait_for(timeout=10000)
    shoot(page, "templates")
    if card.count():
        card.first.click()
    else:
        page.run("([pack, name]) => fetch(`/api/workflow_templates/${pack}/${encodeURIComponent(name)}.json`)"
                 ".then((r) => r.json()).then((w) => app.loadGraphData(w, true, true, name))",
                 [PACK, path.stem])  # fmt: skip
    saved = json.loads(path.read_text())
    page.wait("(count) => app.graph.nodes.length === count", len(saved["nodes"]))
    page.page.wait_for_timeout(800)
    assert page.run("() => app.graph.nodes.filter((node) => node.has_errors || !node.comfyClass && !node.isVirtualNode)"
                    ".map((node) => node.type)") == []  # fmt: skip
    for kind in SAMPLERS:
        for summary in page.run(
            "(kind) => app.graph.nodes.filter((node) => node.type === kind).map((node) => node.widgets.find("
            "(w) => w.name === 'frdiff_steps').element.shadowRoot.querySelector('.summary').textContent)", kind
        ):
            assert summary.startswith("planned: ") and "example" not in summary
    page.page.keyboard.press("Escape")
    shoot(page, "open")
