// What helps to find a fault: reports, versions and settings of the open workflow, without prompts and paths.
import { linkOf, nodesOf } from "./links.js"
import { rootOf } from "./runs.js"

// Widgets whose words are settings; other words may be prompts, or names of files.
const WORDS = new Set([
  "sampler_name", "scheduler", "preset", "forecaster", "stages", "effort", "add_noise", "return_with_leftover_noise",
  "weight_dtype", "control_after_generate"
])

/** The whole as JSON. */
export async function supportText(app, server) {
  const root = rootOf(app)
  const { versions, runs } = await server.support(root.id ?? "")
  const frontend = window.__COMFYUI_FRONTEND_VERSION__
  const renderer = app.extensionManager?.setting?.get?.("Comfy.VueNodes.Enabled") ? "Vue nodes" : "canvas"
  const page = { frontend, renderer, browser: navigator.userAgent }
  return JSON.stringify({ versions: { ...versions, ...page }, runs, workflow: nodesOf(root).map(settingsOf) }, null, 1)
}

/** Put a text on the clipboard, by way of a place on the page if need be; false where the browser does not allow it. */
export async function copyText(text, place) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    // Without https there is no clipboard, but an old command.
    return copyOld(text, place)
  }
}

function copyOld(text, place) {
  const area = document.createElement("textarea")
  area.value = text
  place.append(area)
  area.select()
  const done = document.execCommand("copy")
  area.remove()
  return done
}

function settingsOf(node) {
  const { id, type, mode } = node
  const widgets = (node.widgets ?? []).filter(({ name, value }) => WORDS.has(name) || typeof value !== "string")
  const plain = widgets.filter(({ value }) => ["number", "boolean", "string"].includes(typeof value))
  return {
    id,
    type,
    ...(mode ? { mode } : {}),
    widgets: Object.fromEntries(plain.map(({ name, value }) => [name, value])),
    from: sourcesOf(node)
  }
}

function sourcesOf(node) {
  const links = (node.inputs ?? []).map((input) => [input.name, linkOf(node.graph, input.link)])
  return Object.fromEntries(links.filter(([, link]) => link).map(([name, link]) => [name, link.origin_id]))
}
