// The extension's first entry, for dials and runs. No file but this and results.js has side effects.
import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { takeRuns } from "./carried.js"
import { commandsOf, menuItems, toolbox } from "./commands.js"
import { BY, BY_SPEED, DIAL, Dial } from "./dial.js"
import { addAliases } from "./found.js"
import { FrontPlot } from "./front.js"
import { isLinked } from "./links.js"
import { settingsOf, widgetValues } from "./planner.js"
import { Runs, nodeOf, outputOf, rootOf } from "./runs.js"
import { Server } from "./server.js"
import { StepMap } from "./stepmap.js"
import { TextPanel } from "./text.js"
import { translateDefinition, translateNode } from "./texts.js"
import { Watch } from "./watch.js"
import { addWidget } from "./widget.js"
import { loadWords, say } from "./words.js"

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
const FILE_NODES = new Set(["FRDiffScheduleLoader", "FRDiffAutoFR"])
// Widgets that say which schedule file such a node means.
const OF_FILE = new Set(["file", "name", "steps", "cfg", "sampler_name", "scheduler", "effort"])
// Modes of a node in which it does not run.
const IDLE = { 2: "muted", 4: "bypassed" }
const EVENTS = { run: "frdiff.run", front: "frdiff.front" }

const maps = new Map()
const server = new Server(api)
const runs = new Runs()
const watch = new Watch(look)
// Nodes that came with a workflow: what ran before is theirs. Ids of others may have been another node's.
const loaded = new WeakSet()
// Under which id the server knows this page, and the id of the workflow that is open.
let client = null
let workflow = null

app.registerExtension({
  name: "frdiff.steps",
  ...commandsOf(app, server),
  async init() {
    await loadWords(api, app)
  },
  async setup() {
    api.addEventListener(EVENTS.run, (event) => arrived(runs.add(event.detail)))
    api.addEventListener(EVENTS.front, (event) => calibrated(event.detail))
    api.addEventListener("reconnected", catchUp)
    // The page learns its id from the first message of its connection, which may come later than this.
    api.addEventListener("status", meet)
    api.addEventListener("graphCleared", forget)
    watch.listen(api)
    meet()
  },
  beforeRegisterNodeDef(type, definition) {
    if (ours(definition.name)) translateDefinition(definition.name, definition)
  },
  beforeRegisterVueAppNodeDefs: addAliases,
  nodeCreated(node) {
    const own = ours(node.comfyClass)
    if (own) {
      translateNode(node)
      add(node)
    }
    watch.node(node, own)
    if (own) watch.soon()
  },
  loadedGraphNode(node) {
    loaded.add(node)
  },
  beforeConfigureGraph(data) {
    for (const run of takeRuns(data)) runs.add(run)
  },
  afterConfigureGraph: watch.soon,
  onNodeOutputsUpdated: watch.soon,
  getNodeMenuItems: (node) => menuItems(app, server, node, MAP_NODES.has(node.comfyClass)),
  getSelectionToolboxCommands: (node) => toolbox(node, MAP_NODES.has(node.comfyClass))
})

function ours(type) {
  return MAP_NODES.has(type) || TEXT_NODES.has(type)
}

function add(node) {
  // What the maps hold must not keep a node that was removed.
  const reference = new WeakRef(node)
  const entry = {
    dial: new Dial(node), plot: null, map: null, text: null, said: "", file: null, key: null, told: false, shown: null,
    events: 0
  }
  if (FILE_NODES.has(node.comfyClass)) {
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
  const widgets = [DIAL, BY].map((name) => node?.widgets.find((one) => one.name === name))
  if (!widgets[0] || isLinked(node, DIAL) || isLinked(node, BY)) return false
  for (const [i, widget] of widgets.entries()) {
    if (!widget) continue
    widget.value = [value, BY_SPEED][i]
    widget.callback?.(widget.value, app.canvas, node)
  }
  node.setDirtyCanvas(true, true)
  return true
}

/** Notice what has changed since the last look: widgets, links, modes, the workflow that is open. */
function look() {
  workflow = rootOf(app).id
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
  const idle = IDLE[node.mode]
  entry.dial.follow(node)
  const settings = settingsOf(node)
  const key = idle ?? JSON.stringify(settings)
  if (key === entry.key) return
  const { events } = entry
  entry.key = key
  if (idle) return entry.map.showIdle(say(idle))
  void server.plan(key).then((answer) => {
    // A newer request may have been sent meanwhile.
    if (entry.key !== key) return
    entry.dial.follow(node, speedOf(answer))
    // A run that has begun says more than a plan.
    if (entry.events !== events) return
    entry.map.showPlan(answer, settings.example)
    // Once only: when values change later, the plan says more than a run before.
    if (!entry.told) restore(node, entry, answer)
    entry.told = true
    resize(node, entry)
  })
}

/** What a plan would be as a dial, in the dial's own steps. */
function speedOf({ counts }) {
  const total = counts ? counts.full + counts.partial + counts.skip : 0
  return counts?.full ? Math.round((10 * total) / counts.full) / 10 : undefined
}

function refreshFront(node, entry) {
  const values = widgetValues(node)
  entry.plot.mark(values)
  const inputs = Object.fromEntries(Object.entries(values).filter(([name]) => OF_FILE.has(name)))
  const key = JSON.stringify(inputs)
  if (key === entry.file) return
  entry.file = key
  void server.post("/frdiff/front", { node: node.comfyClass, inputs }).then((answer) => {
    if (entry.file === key) showFront(node, entry, answer)
  })
}

function showFront(node, entry, answer) {
  entry.plot.show(answer)
  resize(node, entry)
}

/** A calibration has a new file: show it, and plan again what is planned from it. */
function calibrated({ front, ...place }) {
  server.forgetPlans()
  const node = nodeOf(app, place)
  for (const [reference, entry] of maps) {
    const other = reference.deref()
    if (other && other === node) showFront(other, entry, front)
    if (entry.key?.includes("FRDiffAutoFR")) entry.key = ""
  }
}

/** Show a run that happened before the node was there: the page was reloaded, or the workflow opened again. */
function restore(node, entry, answer) {
  if (!loaded.has(node)) return
  const run = runs.find((known) => nodeOf(app, known) === node)
  const same = run?.carried || !answer.cells || run?.steps === answer.cells.length
  if (run && same) entry.map.showRun(run, runs.around(run))
}

function arrived(run) {
  const node = nodeOf(app, run)
  // Its id may have been given to another node meanwhile.
  if (run.type !== node?.comfyClass) return
  for (const [reference, entry] of maps) {
    if (reference.deref() === node) {
      entry.events += 1
      entry.told = true
      entry.map.showRun(run, runs.around(run))
      resize(node, entry)
    }
  }
  for (const [other, around] of runs.beside(run)) surround(other, around)
}

/** A part of the same run has news: they belong on the maps of the others as well. */
function surround(run, around) {
  const node = nodeOf(app, run)
  for (const [reference, entry] of maps) if (node && reference.deref() === node) entry.map?.showAround(run, around)
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

function meet() {
  if (!api.clientId || api.clientId === client) return
  client = api.clientId
  void catchUp()
}

/** Ask for what was missed while there was no connection. */
async function catchUp() {
  for (const run of await server.runs()) arrived(runs.add(run))
}

/** What ran under the id of a cleared workflow, which has none by now, belongs to none of the nodes that follow. */
function forget() {
  runs.forget(workflow)
  void server.post("/frdiff/forget", { client: api.clientId ?? "", workflow })
}
