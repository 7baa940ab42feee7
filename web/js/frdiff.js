// The extension's first entry, for dials and runs. No file but this and results.js has side effects.
import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { FrontPlot } from "./front.js"
import { isLinked, settingsOf } from "./planner.js"
import { Runs, nodeOf, outputOf } from "./runs.js"
import { StepMap } from "./stepmap.js"
import { TextPanel } from "./text.js"
import { addWidget } from "./widget.js"
import { loadWords } from "./words.js"

const MAP_NODES = new Set([
  "FRDiffKSampler",
  "FRDiffKSamplerAdvanced",
  "FRDiffModelPatcher",
  "FRDiffSchedule",
  "FRDiffScheduleLoader",
  "FRDiffAutoFR"
])
// Nodes that say something at the end; the frontend shows it on none of them.
const TEXT_NODES = new Set(["FRDiffReport"])
// The widget that says which schedule file a node means.
const FILE_WIDGETS = { FRDiffScheduleLoader: "file", FRDiffAutoFR: "name" }
const DIAL = "speedup"
const EVENTS = { run: "frdiff.run", front: "frdiff.front" }
// Soon enough to feel immediate, and a comparison of a dozen values costs nothing.
const MS_BETWEEN_LOOKS = 120
const PLANS_KEPT = 64

const maps = new Map()
const plans = new Map()
const runs = new Runs()
// Under which id the server knows this page.
let client = null

app.registerExtension({
  name: "frdiff.steps",
  async setup() {
    await loadWords(api, app)
    api.addEventListener(EVENTS.run, (event) => arrived(runs.add(event.detail)))
    api.addEventListener(EVENTS.front, (event) => calibrated(event.detail))
    api.addEventListener("reconnected", catchUp)
    // The page learns its id from the first message of its connection, which may come later than this.
    api.addEventListener("status", meet)
    meet()
    setInterval(look, MS_BETWEEN_LOOKS)
  },
  nodeCreated(node) {
    if (MAP_NODES.has(node.comfyClass) || TEXT_NODES.has(node.comfyClass)) add(node)
  }
})

function add(node) {
  // What the maps hold must not keep a node that was removed.
  const reference = new WeakRef(node)
  const entry = { plot: null, map: null, text: null, said: "", file: null, key: null, told: false, shown: null, events: 0 }
  if (node.comfyClass in FILE_WIDGETS) {
    entry.plot = new FrontPlot()
    entry.plot.onchoose = (value) => turn(reference.deref(), value)
    addWidget(node, "frdiff_front", "FRDIFF_FRONT", entry.plot)
  }
  if (MAP_NODES.has(node.comfyClass)) {
    entry.map = new StepMap()
    addWidget(node, "frdiff_steps", "FRDIFF_STEPS", entry.map)
  }
  if (TEXT_NODES.has(node.comfyClass)) {
    entry.text = new TextPanel()
    addWidget(node, "frdiff_text", "FRDIFF_TEXT", entry.text)
  }
  maps.set(reference, entry)
}

/** Set the dial as its own control does; false where another node sets it. */
function turn(node, value) {
  const widget = node?.widgets.find((one) => one.name === DIAL)
  if (!widget || isLinked(node, DIAL)) return false
  widget.value = value
  widget.callback?.(value, app.canvas, node)
  node.setDirtyCanvas(true, true)
  return true
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
  if (entry.text) refreshText(node, entry)
  if (entry.plot) refreshFront(node, entry)
  if (entry.map) refreshPlan(node, entry)
}

function refreshText(node, entry) {
  const text = outputOf(app, node)?.text?.[0] ?? ""
  if (text === entry.said) return
  entry.said = text
  entry.text.show(text)
  resize(node, entry)
}

function refreshPlan(node, entry) {
  const settings = settingsOf(node)
  const key = JSON.stringify(settings)
  if (key !== entry.key) {
    const { events } = entry
    entry.key = key
    void plan(settings, key).then((answer) => {
      // A newer request may have been sent meanwhile, or a run has begun, which says more than a plan.
      if (entry.key !== key || entry.events !== events) return
      entry.map.showPlan(answer, settings.example)
      // Once only: when values change later, the plan says more than a run before.
      if (!entry.told) restore(node, entry, answer)
      entry.told = true
      resize(node, entry)
    })
  }
}

function refreshFront(node, entry) {
  const value = (name) => node.widgets.find((widget) => widget.name === name)?.value
  const name = FILE_WIDGETS[node.comfyClass]
  const file = value(name)
  entry.plot.mark(value(DIAL))
  if (file === entry.file) return
  entry.file = file
  void ask("/frdiff/front", JSON.stringify({ node: node.comfyClass, inputs: { [name]: file } })).then((answer) => {
    if (entry.file === file) showFront(node, entry, answer)
  })
}

function showFront(node, entry, answer) {
  entry.plot.show(answer)
  resize(node, entry)
}

/** A calibration has a new file: show it, and plan again what is planned from it. */
function calibrated({ front, ...place }) {
  plans.clear()
  const node = nodeOf(app, place)
  for (const [reference, entry] of maps) {
    const other = reference.deref()
    if (other && other === node) showFront(other, entry, front)
    if (entry.key?.includes("FRDiffAutoFR")) entry.key = ""
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
      entry.told = true
      entry.map.showRun(run)
      resize(node, entry)
    }
  }
}

/** What is shown needs a taller node; a node that the user made taller stays so. */
function resize(node, entry) {
  const height = [entry.plot, entry.map, entry.text].reduce((sum, shown) => sum + (shown?.height ?? 0), 0)
  if (entry.shown === height) return
  entry.shown = height
  const [width, least] = node.computeSize()
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], least)])
  node.setDirtyCanvas(true, true)
}

async function plan(settings, key) {
  if (plans.has(key)) return plans.get(key)
  const answer = await ask("/frdiff/plan", key)
  // Nothing is known when the server did not answer.
  if (answer.error !== "") plans.set(key, answer)
  if (plans.size > PLANS_KEPT) plans.delete(plans.keys().next().value)
  return answer
}

async function ask(route, body) {
  try {
    const headers = { "Content-Type": "application/json" }
    return await (await api.fetchApi(route, { method: "POST", headers, body })).json()
  } catch {
    return { error: "" }
  }
}

function meet() {
  if (!api.clientId || api.clientId === client) return
  client = api.clientId
  void catchUp()
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
