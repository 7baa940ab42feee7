// The second entry, for results: comparisons and plots.
import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { ChartPanel } from "./chart.js"
import { ComparePanel } from "./compare.js"
import { nodesOf } from "./links.js"
import { outputOf, rootOf } from "./runs.js"
import { addWidget, fit } from "./widget.js"

const PANELS = {
  FRDiffCompare: () => new ComparePanel(urlOf),
  FRDiffReport: () => new ChartPanel(),
  FRDiffSweep: () => new ChartPanel()
}
const AMPLIFY = "amplify"
// The frontend gives a workflow that is opened again its outputs back a while after its nodes.
const MS_UNTIL_OUTPUTS = [0, 300, 1500]

const panels = new WeakMap()

app.registerExtension({
  name: "frdiff.results",
  nodeCreated(node) {
    const make = PANELS[node.comfyClass]
    if (make) add(node, make())
  },
  afterConfigureGraph() {
    for (const ms of MS_UNTIL_OUTPUTS) setTimeout(restore, ms)
  }
})

function add(node, panel) {
  panels.set(node, { panel, output: null })
  addWidget(node, "frdiff_result", "FRDIFF_RESULT", panel, true)
  // Now: where nodes are drawn as elements, older frontends take no width from a script later.
  node.setSize([Math.max(node.size[0], panel.width), node.size[1]])
  const before = node.onExecuted
  node.onExecuted = function (output) {
    before?.apply(this, arguments)
    show(node, output)
  }
  const amplify = node.widgets.find((widget) => widget.name === AMPLIFY)
  if (!amplify) return
  const changed = amplify.callback
  amplify.callback = function (value) {
    panel.amplify(Number(value))
    return changed?.apply(this, arguments)
  }
}

function show(node, output) {
  const known = panels.get(node)
  if (!output || known.output === output) return
  known.output = output
  if (node.comfyClass === "FRDiffCompare") known.panel.show(output.frdiff_compare?.[0] ?? null)
  else known.panel.show(output.frdiff_plot?.[0] ?? "", output.frdiff_rows ?? [])
  fit(node, known.panel)
}

function restore() {
  for (const node of nodesOf(rootOf(app))) if (panels.has(node)) show(node, outputOf(app, node))
}

function urlOf(file) {
  return api.apiURL(`/view?${new URLSearchParams(file)}`)
}
