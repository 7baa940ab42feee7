// The extension's entry: the only file with side effects.
import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { settingsOf } from "./planner.js"
import { Runs, nodeOf } from "./runs.js"
import { StepMap } from "./stepmap.js"
import { loadWords } from "./words.js"

const NODES = new Set([
  "FRDiffKSampler",
  "FRDiffKSamplerAdvanced",
  "FRDiffModelPatcher",
  "FRDiffSchedule",
  "FRDiffScheduleLoader",
  "FRDiffAutoFR"
])
const EVENT = "frdiff.run"
// Soon enough to feel immediate, and a comparison of a dozen values costs nothing.
const MS_BETWEEN_LOOKS = 120
const PLANS_KEPT = 64

const maps = new Map()
const plans = new Map()
const runs = new Runs()

app.registerExtension({
  name: "frdiff.steps",
  async setup() {
    await loadWords(api, app)
    api.addEventListener(EVENT, (event) => arrived(runs.add(event.detail)))
    api.addEventListener("reconnected", catchUp)
    await catchUp()
    setInterval(look, MS_BETWEEN_LOOKS)
  },
  nodeCreated(node) {
    if (NODES.has(node.comfyClass)) add(node)
  }
})

function add(node) {
  const map = new StepMap()
  map.onwheel = (event) => app.canvas.canvas.dispatchEvent(event)
  const widget = node.addDOMWidget("frdiff_steps", "FRDIFF_STEPS", map.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => map.height,
    getMaxHeight: () => map.height,
    getValue: () => "",
    setValue: () => {}
  })
  // Not in the saved workflow either: it holds no value.
  widget.serialize = false
  maps.set(new WeakRef(node), { map, key: null, shown: null, events: 0 })
}

/** Notice what has changed since the last look: widgets, links, the workflow that is open. */
function look() {
  if (document.hidden) return
  for (const [reference, entry] of maps) {
    const node = reference.deref()
    if (!node) maps.delete(reference)
    else if (node.graph) refresh(node, entry)
  }
}

function refresh(node, entry) {
  const settings = settingsOf(node)
  const key = JSON.stringify(settings)
  if (key !== entry.key) {
    const first = entry.key === null
    const { events } = entry
    entry.key = key
    void plan(settings, key).then((answer) => {
      // A newer request may have been sent meanwhile, or a run has begun, which says more than a plan.
      if (entry.key !== key || entry.events !== events) return
      entry.map.showPlan(answer, settings.example)
      if (first) restore(node, entry, answer)
      resize(node, entry)
    })
  }
}

/** Show a run that happened before the node was there: the page was reloaded, or the workflow opened again. */
function restore(node, entry, answer) {
  const run = runs.find((known) => nodeOf(app, known) === node)
  if (run && (!answer.cells || run.steps === answer.cells.length)) entry.map.showRun(run)
}

function arrived(run) {
  const node = nodeOf(app, run)
  for (const [reference, entry] of maps) {
    if (node && reference.deref() === node) {
      entry.events += 1
      entry.map.showRun(run)
      resize(node, entry)
    }
  }
}

/** A map with more rows needs a taller node; a node that the user made taller stays so. */
function resize(node, entry) {
  if (entry.shown === entry.map.height) return
  entry.shown = entry.map.height
  const [width, height] = node.computeSize()
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)])
  node.setDirtyCanvas(true, true)
}

async function plan(settings, key) {
  if (plans.has(key)) return plans.get(key)
  try {
    const response = await api.fetchApi("/frdiff/plan", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: key
    })
    const answer = await response.json()
    plans.set(key, answer)
    if (plans.size > PLANS_KEPT) plans.delete(plans.keys().next().value)
    return answer
  } catch {
    return { error: "" }
  }
}

/** Ask for what was missed while there was no connection. */
async function catchUp() {
  try {
    const response = await api.fetchApi(`/frdiff/runs?client=${encodeURIComponent(api.clientId ?? "")}`)
    for (const run of await response.json()) arrived(runs.add(run))
  } catch {
    // Without a connection the maps show plans; the next reconnection asks again.
  }
}
