"""One run in two parts, in a real browser: the map of each part shows the whole run."""

import random

import pytest
from stepmaps import cells, demo, kinds, outputs_of, queue, summary, turn, wait_for_summary

pytestmark = pytest.mark.browser

STEPS, CUT = 20, 8
HELPERS = """
const old = app.graph.getNodeById(5)
const add = (type, values, x, y) => {
  const node = LiteGraph.createNode(type)
  app.graph.add(node)
  node.pos = [x, y]
  for (const [name, value] of Object.entries(values)) node.widgets.find((one) => one.name === name).value = value
  return node
}
const place = (slots, name) => slots.findIndex((slot) => slot.name === name)
const link = (from, output, to, input) =>
  from.connect(place(from.outputs, output), to, place(to.inputs, input))
const linkOf = (name) => app.graph.links.get?.(old.inputs[place(old.inputs, name)].link)
const source = (name) => [app.graph.getNodeById(linkOf(name).origin_id), linkOf(name).origin_slot]
const given = (to, name) => {
  const [node, slot] = source(name)
  node.connect(slot, to, place(to.inputs, name))
}
const finish = (last, output) => {
  link(last, output, app.graph.getNodeById(6), "samples")
  for (const node of [old, app.graph.getNodeById(8)]) app.graph.remove(node)
}
"""
# The demo's sampler in two: of steps up to a cut, and of the rest.
ADVANCED = f"""([steps, cut, seed]) => {{ {HELPERS}
  const common = {{ steps, cfg: 3, sampler_name: "euler", scheduler: "normal", speedup: 2, noise_seed: seed,
    control_after_generate: "fixed" }}
  const first = add("FRDiffKSamplerAdvanced", {{ ...common, add_noise: "enable", start_at_step: 0, end_at_step: cut,
    return_with_leftover_noise: "enable" }}, 400, 40)
  const second = add("FRDiffKSamplerAdvanced", {{ ...common, add_noise: "disable", start_at_step: cut,
    end_at_step: 10000, return_with_leftover_noise: "disable" }}, 800, 40)
  for (const name of ["model", "positive", "negative"]) for (const node of [first, second]) given(node, name)
  given(first, "latent_image")
  link(first, "LATENT", second, "latent_image")
  finish(second, "LATENT")
  return [Number(first.id), Number(second.id)] }}"""
# The same with samplers that take noise levels, each behind a patcher.
SPLIT = f"""([steps, cut, seed]) => {{ {HELPERS}
  const levels = add("BasicScheduler", {{ steps, scheduler: "normal", denoise: 1 }}, 40, 500)
  given(levels, "model")
  const split = add("SplitSigmas", {{ step: cut }}, 40, 700)
  link(levels, "SIGMAS", split, "sigmas")
  const chosen = add("KSamplerSelect", {{ sampler_name: "euler" }}, 40, 820)
  let latent = null
  const patchers = ["high_sigmas", "low_sigmas"].map((part, i) => {{
    const patcher = add("FRDiffModelPatcher", {{ speedup: 2 }}, 400 + 400 * i, 40)
    const guider = add("CFGGuider", {{ cfg: 3 }}, 400 + 400 * i, 400)
    const noise = add(i ? "DisableNoise" : "RandomNoise", i ? {{}} : {{ noise_seed: seed }}, 400 + 400 * i, 520)
    const sampler = add("SamplerCustomAdvanced", {{}}, 400 + 400 * i, 620)
    // Other models, and not those of another page: the host runs nodes of the same inputs as one, and only once.
    const model = add("RescaleCFG", {{ multiplier: 0.02 * i + (seed % 1000) / 1e5 }}, 40, 900 + 100 * i)
    given(model, "model")
    link(model, "MODEL", patcher, "model")
    link(patcher, "MODEL", guider, "model")
    for (const name of ["positive", "negative"]) given(guider, name)
    link(guider, "GUIDER", sampler, "guider")
    link(noise, "NOISE", sampler, "noise")
    link(chosen, "SAMPLER", sampler, "sampler")
    split.connect(i, sampler, place(sampler.inputs, "sigmas"))
    if (latent) link(latent, "output", sampler, "latent_image")
    else given(sampler, "latent_image")
    latent = sampler
    return patcher
  }})
  finish(latent, "output")
  return patchers.map((patcher) => Number(patcher.id)) }}"""
OTHERS = """(id) => [...app.graph.getNodeById(id).widgets.find((w) => w.name === 'frdiff_steps').element.shadowRoot
  .querySelectorAll('.cells > [data-other]')].map((cell) => [cell.getAttribute('aria-label'), cell.dataset.state])"""


def parts_of(page, build):
    page.load(demo())
    # Of its own, so that nothing is answered from a cache.
    parts = page.run(build, [STEPS, CUT, random.randrange(2**32)])
    page.page.wait_for_timeout(600)
    return parts


def assert_both_show_the_whole(page, first, second):
    """After the run: the same steps on both maps, each with the other's marked and named as such."""
    assert kinds(page, first) == kinds(page, second) and len(kinds(page, first)) == STEPS
    assert kinds(page, first).count("full") == STEPS // 2
    of_first = kinds(page, first)[:CUT].count("full")
    assert summary(page, first).startswith(f"{of_first} of {CUT} steps computed, 10 of {STEPS} in all parts, ")
    assert summary(page, second).startswith(f"{10 - of_first} of {STEPS - CUT} steps computed, 10 of {STEPS} in all ")
    for node, own in ((first, range(CUT)), (second, range(CUT, STEPS))):
        shown = cells(page, node)
        others = [number for number, cell in enumerate(shown) if "in another part" in cell["words"]]
        assert others == [number for number in range(STEPS) if number not in own]
        assert len(page.run(OTHERS, node)) == len(others)
        assert all(cell["words"].startswith(f"step {i + 1} of {STEPS}, ") for i, cell in enumerate(shown))
        assert all(cell["state"] == "done" for cell in shown)


def test_two_advanced_samplers_show_one_run(page, shoot):
    first, second = parts_of(page, ADVANCED)
    wait_for_summary(page, f"10 of {STEPS} in all parts", first)
    wait_for_summary(page, f"10 of {STEPS} in all parts", second)
    planned = kinds(page, first)
    assert planned == kinds(page, second) and len(planned) == STEPS and planned.count("full") == 10
    assert summary(page, first).startswith(f"planned: {planned[:CUT].count('full')} of {CUT} steps computed, 10 of ")
    told = page.run(OTHERS, first)
    assert len(told) == STEPS - CUT and told[0] == [cells(page, first)[CUT]["words"], "planned"]
    assert told[0][0].startswith(f"step {CUT + 1} of {STEPS}, in another part, computed, sigma ")
    shoot(page, "planned")
    queue(page)
    outputs_of(page)
    wait_for_summary(page, "MB kept", second)
    assert_both_show_the_whole(page, first, second)
    assert kinds(page, first) == planned
    shoot(page, "done")
    # Another seed: the first part runs again, and what the second did before is not of this run.
    for node in (first, second):
        turn(page, "noise_seed", 7, node)
    turn(page, "add_noise", "enable", second)
    wait_for_summary(page, "planned", second)
    assert not page.run(OTHERS, second) and "in all parts" not in summary(page, second)
    assert len(cells(page, second)) == STEPS - CUT


def test_split_noise_levels_behind_two_patchers_show_one_run(page, shoot):
    """The plan does not know of the other part, since nothing on the node says so; the run does."""
    first, second = parts_of(page, SPLIT)
    queue(page)
    outputs_of(page)
    wait_for_summary(page, "in all parts", second)
    wait_for_summary(page, "MB kept", second)
    assert_both_show_the_whole(page, first, second)
    shoot(page, "done")
    before = [summary(page, node) for node in (first, second)], [cells(page, node) for node in (first, second)]
    page.open()
    # What the frontend itself complains about when it is opened is not the pack's.
    page.errors.clear()
    wait_for_summary(page, "MB kept", first)
    wait_for_summary(page, "MB kept", second)
    page.page.wait_for_timeout(500)
    assert before == ([summary(page, n) for n in (first, second)], [cells(page, n) for n in (first, second)])
