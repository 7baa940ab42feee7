// The dial of a node that follows a schedule: greyed, with the schedule's speed-up in it, and its own value kept.
import { scheduleOf, widgetValues } from "./planner.js"

/** The name of the dial's widget and input. */
export const DIAL = "speedup"
/** The widget that says whether the dial counts or an error, and its value for the dial. */
export const BY = "by"
export const BY_SPEED = "speed"

export class Dial {
  #widget
  #own = null
  #name

  constructor(node) {
    this.#widget = node.widgets?.find((widget) => widget.name === DIAL)
    this.#name = this.#widget?.label ?? DIAL
    if (this.#widget) this.#keepOwn(node)
  }

  /** Show what is used: the schedule's speed-up, or the node's own; `planned` is that of a plan. */
  follow(node, planned) {
    if (!this.#widget) return
    const schedule = scheduleOf(node)
    if (schedule) this.#set(node, dialOf(schedule) ?? planned)
    else if (this.#own !== null) this.#free(node)
    if (LiteGraph.vueNodesMode) dim(node, this.#name, this.#own !== null)
  }

  /** The dial's own value, whether or not it is used. */
  get value() {
    return this.#own ?? this.#widget?.value
  }

  #set(node, value) {
    if (this.#own === null) {
      this.#own = this.#widget.value
      this.#disable(node, true)
    }
    if (value != null) this.#show(node, value)
  }

  #free(node) {
    const own = this.#own
    this.#own = null
    this.#disable(node, false)
    this.#show(node, own)
  }

  #show(node, value) {
    this.#label(value)
    if (this.#widget.value === value) return
    this.#widget.value = value
    // Some frontends draw what the callback gets.
    this.#widget.callback?.(value)
    node.setDirtyCanvas(true, true)
  }

  /** The canvas draws no value on a greyed widget, so that its label says it. */
  #label(value) {
    const inLabel = this.#own !== null && !LiteGraph.vueNodesMode
    this.#widget.label = inLabel ? `${this.#name}: ${value}` : this.#name
  }

  #disable(node, disabled) {
    this.#widget.disabled = disabled
    this.#widget.options.disabled = disabled
    node.setDirtyCanvas(true, true)
  }

  /** What is saved and run is the node's own value: the other one is the schedule's. */
  #keepOwn(node) {
    const { onSerialize } = node
    const place = node.widgets.indexOf(this.#widget)
    node.onSerialize = (saved) => {
      onSerialize?.call(node, saved)
      if (this.#own !== null && saved.widgets_values) saved.widgets_values[place] = this.#own
    }
    this.#widget.serializeValue = () => this.value
  }
}

/** The dial of a schedule's node, where it has one that counts. */
function dialOf(schedule) {
  const values = widgetValues(schedule)
  return (values[BY] ?? BY_SPEED) === BY_SPEED ? values[DIAL] : undefined
}

/** Grey a widget's row and keep hands off it, for frontends that draw it themselves and note no change of it. */
function dim(node, name, greyed) {
  const rows = document.querySelectorAll(`[data-node-id="${node.id}"] .lg-node-widget`)
  const row = [...rows].find((one) => one.textContent.trim().startsWith(name))
  if (!row) return
  row.inert = greyed
  row.style.opacity = greyed ? "0.5" : ""
}
