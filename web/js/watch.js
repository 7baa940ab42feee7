// Says when to look again: listens to what changes widgets, links and outputs; many changes at once are one look.
import { SETTING_INPUTS, SETTING_WIDGETS } from "./planner.js"

// What the frontend tells of: a change that can be undone, a cleared graph, results.
const EVENTS = ["graphChanged", "graphCleared", "promptQueued", "executed", "execution_success"]

export class Watch {
  #look
  #due = false
  #graphs = new WeakSet()

  constructor(look) {
    this.#look = look
  }

  listen(api) {
    for (const name of EVENTS) api.addEventListener(name, this.soon)
  }

  /** Look once what happens now is over. */
  soon = () => {
    if (this.#due) return
    this.#due = true
    setTimeout(() => {
      this.#due = false
      this.#look()
    })
  }

  /** Modes change without a word from other events: the graph tells of them, each frontend in its own way. */
  #graph(graph) {
    if (!this.#graphs.has(graph)) {
      this.#graphs.add(graph)
      graph.events?.addEventListener?.("node:property:changed", this.soon)
      graph.onTrigger = then(graph.onTrigger, this.soon)
    }
    this.soon()
  }

  /** Look when a setting of this node changes at once, before the frontend takes note; `own` means any of them. */
  node(node, own) {
    const widgets = (node.widgets ?? []).filter((widget) => own || SETTING_WIDGETS.has(widget.name))
    if (own) node.onAdded = then(node.onAdded, (graph) => this.#graph(graph))
    for (const widget of widgets) widget.callback = then(widget.callback, this.soon)
    if (own || widgets.length || node.inputs?.some((input) => SETTING_INPUTS.has(input.name))) {
      node.onConnectionsChange = then(node.onConnectionsChange, this.soon)
    }
  }
}

function then(before, after) {
  return function (...values) {
    const answer = before?.apply(this, values)
    after(...values)
    return answer
  }
}
