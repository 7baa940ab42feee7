// Reads from the graph what the server needs to plan a run. It computes nothing itself.
import { sourceOf, targetsOf, valueOf } from "./links.js"

/** Widgets of sampler nodes, and of nodes in front of them, that say how a run is planned. */
export const SETTING_WIDGETS = new Set([
  "steps", "sampler_name", "scheduler", "denoise", "start_at_step", "end_at_step", "add_noise",
  "return_with_leftover_noise"
])
/** Inputs of a sampler node whose sources hold its settings. */
export const SETTING_INPUTS = new Set(["sampler", "sigmas"])
const SCHEDULES = new Set(["FRDiffSchedule", "FRDiffScheduleLoader", "FRDiffAutoFR"])
const NODES_VISITED_AT_MOST = 64

/** The body of a request for a plan; `example` says that no sampler is connected, or that its values are not known. */
export function settingsOf(node) {
  const own = widgetValues(node)
  const isSchedule = SCHEDULES.has(node.comfyClass)
  const settings = isSchedule || !("steps" in own) ? { ...pick(own), ...samplerAfter(node) } : pick(own)
  const source = isSchedule ? node : scheduleOf(node)
  // With a schedule the dial is not used, and shows what the schedule says.
  if ("speedup" in own && !source) settings.speedup = own.speedup
  const given = isSchedule ? own : source ? widgetValues(source) : {}
  if (source) settings.schedule = { node: source.comfyClass ?? source.type, inputs: guessed(source, given) }
  settings.example = !("steps" in settings) || hasUnknown(settings) || hasUnknown(given)
  return settings
}

/** Whether a value comes from a node that makes it while it runs. */
function hasUnknown(values) {
  return Object.values(values).includes(undefined)
}

/** The node that gives a sampler node its schedule, null without one. */
export function scheduleOf(node) {
  return sourceOf(node, "schedule")
}

/** The values of a node's widgets by name, as a run gets them. */
export function widgetValues(node) {
  const plain = (node.widgets ?? []).filter((w) => ["number", "string", "boolean"].includes(typeof w.value))
  return Object.fromEntries(plain.filter((w) => w.serialize !== false).map((w) => [w.name, valueOf(node, w)]))
}

/** The values of a node, with the widget's own where the run's is not known before. */
function guessed(node, values) {
  const own = (name) => node.widgets.find((widget) => widget.name === name).value
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value ?? own(name)]))
}

function pick(values) {
  // Of samplers that take noise levels, `add_noise` is another widget: a boolean.
  const counts = ([name, value]) => SETTING_WIDGETS.has(name) && typeof value !== "boolean"
  return Object.fromEntries(Object.entries(values).filter(counts))
}

/** The settings of the first sampler that a node's outputs lead to. */
function samplerAfter(node) {
  let settings = {}
  const waiting = [node]
  const seen = new Set(waiting)
  while (waiting.length && seen.size <= NODES_VISITED_AT_MOST) {
    const at = waiting.shift()
    if (at !== node) settings = { ...settingsAt(at), ...settings }
    for (const next of "steps" in settings ? [] : targetsOf(at)) {
      if (!seen.has(next)) waiting.push(next)
      seen.add(next)
    }
  }
  return settings
}

function settingsAt(node) {
  const inputs = (node.inputs ?? []).filter((input) => SETTING_INPUTS.has(input.name))
  const sources = inputs.map((input) => sourceOf(node, input.name)).filter(Boolean)
  return Object.assign({}, ...sources.map((source) => pick(widgetValues(source))), pick(widgetValues(node)))
}
